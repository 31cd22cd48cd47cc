//! Charts over the time of a run, as SVG inside of a page.

use core::fmt::Write as _;

/// Width of all charts, and where their plots begin and end.
const WIDTH: f64 = 1080.0;
const LEFT: f64 = 104.0;
const RIGHT: f64 = 1066.0;
const TOP: f64 = 10.0;
const FOOT: f64 = 22.0;

/// A chart that is being drawn: seconds to the right, values upwards.
#[derive(Debug)]
pub struct Chart {
    svg: String,
    height: f64,
    seconds: f64,
    most: f64,
}

/// Text for a page.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A step for about `count` lines of a grid: 1, 2 or 5 times a power of ten.
fn step(most: f64, count: f64) -> f64 {
    let raw = (most / count).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|factor| factor * power >= raw);
    factor.unwrap_or(10.0) * power
}

impl Chart {
    /// An empty chart with axes.
    #[must_use]
    pub fn new(height: f64, seconds: f64, most: f64, unit: &str) -> Self {
        let mut chart = Self::bare(height, seconds);
        chart.most = most.max(f64::MIN_POSITIVE);
        let each = step(chart.most, 4.0);
        let mut value = 0.0;
        while value <= chart.most * 1.001 {
            let y = chart.y(value);
            let _ = write!(
                chart.svg,
                r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/><text class="axis" x="{:.0}" y="{:.1}" text-anchor="end">{value} {unit}</text>"#,
                LEFT - 8.0,
                y + 4.0,
            );
            value += each;
        }
        chart
    }

    /// A chart with lanes in place of values.
    #[must_use]
    pub fn lanes(names: &[String], seconds: f64) -> Self {
        let lanes = f64::from(u32::try_from(names.len()).unwrap_or(u32::MAX));
        let mut chart = Self::bare(TOP + FOOT + 20.0 * lanes, seconds);
        chart.most = lanes;
        for (lane, name) in (0_u32..).zip(names) {
            let y = TOP + 20.0 * f64::from(lane);
            let _ = write!(
                chart.svg,
                r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{:.1}" y2="{:.1}"/><text class="axis" x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
                y + 20.0,
                y + 20.0,
                LEFT - 8.0,
                y + 14.0,
                escape(name),
            );
        }
        chart
    }

    fn bare(height: f64, seconds: f64) -> Self {
        let mut chart = Self {
            svg: String::new(),
            height,
            seconds: seconds.max(1.0),
            most: 1.0,
        };
        let each = step(chart.seconds, 12.0);
        let mut at = 0.0;
        while at <= chart.seconds {
            let x = chart.x(at);
            let foot = height - FOOT;
            let _ = write!(
                chart.svg,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{foot}"/><text class="axis" x="{x:.1}" y="{:.0}" text-anchor="middle">{at} s</text>"#,
                height - 6.0,
            );
            at += each;
        }
        chart
    }

    fn x(&self, at: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (at / self.seconds).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        let floor = self.height - FOOT;
        floor - (floor - TOP) * (value / self.most).clamp(0.0, 1.0)
    }

    /// A band over the whole height.
    pub fn band(&mut self, from: f64, to: f64, class: &str, title: &str) {
        let (x, end) = (self.x(from), self.x(to));
        let height = self.height - FOOT - TOP;
        let _ = write!(
            self.svg,
            r#"<rect class="{class}" x="{x:.1}" y="{TOP}" width="{:.1}" height="{height:.1}"><title>{}</title></rect>"#,
            (end - x).max(1.0),
            escape(title),
        );
    }

    /// A bar in a lane.
    pub fn bar(&mut self, lane: usize, from: f64, to: f64, class: &str, title: &str) {
        let lane = f64::from(u32::try_from(lane).unwrap_or(u32::MAX));
        let (x, end) = (self.x(from), self.x(to));
        let _ = write!(
            self.svg,
            r#"<rect class="{class}" x="{x:.1}" y="{:.1}" width="{:.1}" height="14" rx="2"><title>{}</title></rect>"#,
            TOP + 20.0 * lane + 3.0,
            (end - x).max(3.0),
            escape(title),
        );
    }

    /// A column that stands on another one.
    pub fn column(&mut self, from: f64, to: f64, low: f64, high: f64, class: &str) {
        if high <= low {
            return;
        }
        let (x, end) = (self.x(from), self.x(to));
        let (top, foot) = (self.y(high), self.y(low));
        let _ = write!(
            self.svg,
            r#"<rect class="{class}" x="{:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/>"#,
            x + 1.0,
            (end - x - 2.0).max(1.0),
            foot - top,
        );
    }

    /// A line from the foot up to a value.
    pub fn stem(&mut self, at: f64, value: f64, class: &str, title: &str) {
        let (x, y, foot) = (self.x(at), self.y(value), self.height - FOOT);
        let _ = write!(
            self.svg,
            r#"<line class="{class}" x1="{x:.1}" x2="{x:.1}" y1="{foot}" y2="{y:.1}"><title>{}</title></line>"#,
            escape(title),
        );
    }

    /// A dot.
    pub fn dot(&mut self, at: f64, value: f64, class: &str, title: &str) {
        let (x, y) = (self.x(at), self.y(value));
        let _ = write!(
            self.svg,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2.2"><title>{}</title></circle>"#,
            escape(title),
        );
    }

    /// A line across at one value.
    pub fn level(&mut self, value: f64, text: &str) {
        let y = self.y(value);
        let _ = write!(
            self.svg,
            r#"<line class="level" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/><text class="level-text" x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"#,
            RIGHT - 4.0,
            y - 4.0,
            escape(text),
        );
    }

    /// A line through points.
    pub fn line(&mut self, points: &[(f64, f64)], class: &str, title: &str) {
        let mut path = String::new();
        for (at, value) in points {
            let _ = write!(path, "{:.1},{:.1} ", self.x(*at), self.y(*value));
        }
        let _ = write!(
            self.svg,
            r#"<polyline class="{class}" points="{path}"><title>{}</title></polyline>"#,
            escape(title),
        );
    }

    /// The finished chart.
    #[must_use]
    pub fn finish(self) -> String {
        let (height, svg) = (self.height, self.svg);
        format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img">{svg}</svg>"#)
    }
}

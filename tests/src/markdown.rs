//! What the book's checks need of Markdown: fenced blocks, headings and links of a page.

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The line on which it begins, from 1.
    pub line: usize,
    /// What stands behind the opening backticks.
    pub info: String,
    /// Its lines, each with its end, without the indentation of the fence.
    pub text: String,
    /// The paragraph before it, as one line.
    pub before: String,
}

impl Fence {
    /// The test that its mark names.
    #[must_use]
    pub fn test(&self) -> Option<&str> {
        self.info
            .split_whitespace()
            .find_map(|word| word.strip_prefix("test="))
    }

    /// The language.
    #[must_use]
    pub fn language(&self) -> &str {
        self.info.split_whitespace().next().unwrap_or_default()
    }
}

/// A link to something that is not a heading of its own page, or is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The line that it ends on, from 1.
    pub line: usize,
    /// Where to.
    pub target: String,
}

/// A page, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Its fenced blocks.
    pub fences: Vec<Fence>,
    /// The names that its headings can be linked by.
    pub anchors: Vec<String>,
    /// Its links and pictures.
    pub links: Vec<Link>,
    /// Its first heading of the first level.
    pub title: Option<String>,
    /// The first line of text below the title.
    pub first: String,
}

impl Page {
    /// Takes a page apart.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut open: Option<(usize, Fence)> = None;
        let mut paragraph = String::new();
        let (mut ended, mut code) = (true, false);
        for (number, line) in (1..).zip(text.lines()) {
            let bare = line.trim_start();
            if let Some((indent, mut fence)) = open.take() {
                if bare.starts_with("```") && bare.trim_end().chars().all(|c| c == '`') {
                    page.fences.push(fence);
                    paragraph.clear();
                } else {
                    fence.text.push_str(without_indent(line, indent));
                    fence.text.push('\n');
                    open = Some((indent, fence));
                }
                continue;
            }
            if let Some(info) = bare.strip_prefix("```") {
                let fence = Fence {
                    line: number,
                    info: info.trim().to_owned(),
                    text: String::new(),
                    before: paragraph.trim().to_owned(),
                };
                open = Some((line.len() - bare.len(), fence));
                continue;
            }
            if let Some(heading) = heading(line) {
                page.head(line, &heading);
                paragraph.clear();
                ended = true;
            } else if bare.is_empty() {
                ended = true;
            } else {
                if ended {
                    paragraph.clear();
                    ended = false;
                }
                paragraph.push_str(bare);
                paragraph.push(' ');
                if page.title.is_some() && page.first.is_empty() {
                    line.clone_into(&mut page.first);
                }
            }
            code &= !ended;
            let targets = targets(&without_code(line, &mut code));
            page.links.extend(targets.into_iter().map(|target| Link {
                line: number,
                target,
            }));
        }
        page
    }

    fn head(&mut self, line: &str, heading: &str) {
        if line.starts_with("# ") && self.title.is_none() {
            self.title = Some(heading.to_owned());
        }
        let anchor = anchor(heading);
        let same = |other: &&String| {
            **other == anchor
                || other
                    .strip_prefix(&anchor)
                    .and_then(|rest| rest.strip_prefix('-'))
                    .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()))
        };
        match self.anchors.iter().filter(same).count() {
            0 => self.anchors.push(anchor),
            n => self.anchors.push(format!("{anchor}-{n}")),
        }
    }
}

/// The text of a heading, if the line is one.
fn heading(line: &str) -> Option<String> {
    let rest = line.trim_start_matches('#');
    let level = line.len() - rest.len();
    ((1..=6).contains(&level) && rest.starts_with(' ')).then(|| rest.trim().to_owned())
}

/// What a heading is linked by, as mdBook and the usual hosts of repositories make it.
#[must_use]
pub fn anchor(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    // A link in a heading counts with its text alone.
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text.to_lowercase()
        .chars()
        .filter_map(|c| match c {
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            c if c.is_whitespace() => Some('-'),
            _ => None,
        })
        .collect()
}

fn without_indent(line: &str, indent: usize) -> &str {
    let spaces = line.len() - line.trim_start_matches(' ').len();
    line.split_at(spaces.min(indent)).1
}

/// The line with what stands between backticks left out. Code may go on from the line before.
fn without_code(line: &str, code: &mut bool) -> String {
    let parts: Vec<_> = line.split('`').collect();
    let text = parts.iter().skip(usize::from(*code)).step_by(2);
    let text: Vec<_> = text.copied().collect();
    *code ^= parts.len() % 2 == 0;
    text.join(" ")
}

fn targets(line: &str) -> Vec<String> {
    let inline = line
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split(' ').next().unwrap_or_default().to_owned());
    let reference = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
        .map(|(_, target)| target.trim().to_owned());
    inline.chain(reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# A page: `of` [links](a.md)

For operators. More
text [wraps
over](b.md#c), `[not](this) or
[that](one)`, but [this](e.md).

## Twice
Why it is
not run.

```sh not-run
echo [no](link.md)
# no heading
```
## Twice
* item
  ```sh test=some_test
  one
    two
  ```
![picture](p.png \"title\")
[ref]: d.md
";

    #[test]
    fn a_page_comes_apart() {
        let page = Page::parse(PAGE);
        assert_eq!(page.anchors, ["a-page-of-links", "twice", "twice-1"]);
        assert_eq!(page.first, "For operators. More");
        let targets: Vec<_> = page.links.iter().map(|l| (l.line, &*l.target)).collect();
        let expected = [
            (1, "a.md"),
            (5, "b.md#c"),
            (6, "e.md"),
            (22, "p.png"),
            (23, "d.md"),
        ];
        assert_eq!(targets, expected);
        assert_eq!(page.fences.len(), 2);
        assert_eq!(page.fences[0].info, "sh not-run");
        assert_eq!(page.fences[0].before, "Why it is not run.");
        assert_eq!(page.fences[0].test(), None);
        assert_eq!(page.fences[1].test(), Some("some_test"));
        assert_eq!(page.fences[1].text, "one\n  two\n");
    }
}

//! HTML in which nothing from outside is markup.

use std::fmt::Write as _;

/// Longest value that a page shows in full, in characters.
const LONGEST: usize = 2000;

/// A page as it grows. Only what stands in this program's source can become
/// markup; everything else goes through [`Html::text`].
pub struct Html(String);

impl Html {
    pub const fn new() -> Self {
        Self(String::new())
    }

    /// Adds markup.
    pub fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, of any origin. What could be markup, hide itself or turn the
    /// direction of the text is written out, what is too long is cut.
    pub fn text(&mut self, text: &str) -> &mut Self {
        let mut rest = text.chars();
        for character in rest.by_ref().take(LONGEST) {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other if is_treacherous(other) => {
                    let _ = write!(self.0, "{}", other.escape_unicode());
                }
                other => self.0.push(other),
            }
        }
        match rest.count() {
            0 => {}
            more => {
                let _ = write!(self.0, "… ({more} more characters)");
            }
        }
        self
    }

    /// Adds text between two pieces of markup.
    pub fn around(&mut self, before: &'static str, text: &str, after: &'static str) -> &mut Self {
        self.markup(before).text(text).markup(after)
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// Control characters, and those that are not seen or reorder their neighbours.
fn is_treacherous(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> String {
        let mut html = Html::new();
        html.text(text);
        html.0
    }

    #[test]
    fn no_text_becomes_markup() {
        assert_eq!(
            text("<a href=\"x\" title='y'>&amp;"),
            "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;amp;"
        );
        assert_eq!(text("a\u{202e}b\0c\n"), "a\\u{202e}b\\u{0}c\\u{a}");
        assert_eq!(text("größer 表"), "größer 表");
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        let long = text(&"<".repeat(LONGEST + 7));
        assert_eq!(long.matches("&lt;").count(), LONGEST);
        assert!(long.ends_with("… (7 more characters)"), "{long}");
        assert!(!text(&"<".repeat(LONGEST)).contains('…'));
    }
}

//! What this program says. The console belongs to the host: whatever is said
//! here, the host reads, and nothing secret is said.

use std::io::Write as _;

/// Says one line. A console that is not there is no reason to fail; control
/// characters of what others wrote do not reach it.
pub fn say(line: &str) {
    let mut text: String = line
        .chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect();
    text.push('\n');
    // At once, so that lines of other processes do not come between.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Says one line, formatted.
#[macro_export]
macro_rules! say {
    ($($arguments:tt)*) => {
        $crate::console::say(&::std::format!($($arguments)*))
    };
}

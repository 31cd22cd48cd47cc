//! Shapes that no manifest predicts, to try things out.

use zipnet_measurements::{Memory, Shape};

use crate::image::ImageError;

/// Most processors that are tried.
const MAX_CPUS: u32 = 1024;

/// Reads a shape such as `3c3G`.
///
/// # Errors
/// [`ImageError::NoShape`].
pub fn any(text: &str) -> Result<Shape, ImageError> {
    let shape = text.split_once('c').and_then(|(cpus, memory)| {
        let cpus = cpus
            .parse()
            .ok()
            .filter(|cpus| (1..=MAX_CPUS).contains(cpus))?;
        let memory: Memory = memory.parse().ok()?;
        Some(Shape {
            cpus,
            memory: memory.0,
        })
    });
    shape.ok_or_else(|| ImageError::NoShape(zipnet_attest::report::plain(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_processors_and_memory() {
        assert_eq!(any("3c3G").unwrap().id(), "3c3G");
        assert_eq!(any("1c512M").unwrap().id(), "1c512M");
        for wrong in ["", "c", "2c", "c2G", "0c2G", "2c1M", "2x2G", "99999c2G"] {
            assert!(any(wrong).is_err(), "{wrong}");
        }
    }
}

//! Content lines as they are written. Pure.
//!
//! RFC 5545 §3.1: no line is longer than 75 octets without its line end, and a fold never stands within a
//! character, though readers must cope with that.

/// Longest line, in octets.
const LINE_OCTETS: usize = 75;

/// Writes a content line, folded, each of its lines with `line_end`.
pub fn fold(line: &[u8], line_end: &[u8], output: &mut Vec<u8>) {
    let mut rest = line;
    // What a fold begins with counts as well.
    let mut room = LINE_OCTETS;
    while rest.len() > room {
        let (now, later) = rest.split_at_checked(boundary(rest, room)).unwrap_or((rest, b""));
        output.extend_from_slice(now);
        output.extend_from_slice(line_end);
        output.push(b' ');
        rest = later;
        room = LINE_OCTETS - 1;
    }
    output.extend_from_slice(rest);
    output.extend_from_slice(line_end);
}

/// The last place up to `most` at which a character begins. What is not UTF-8 is cut anywhere.
fn boundary(octets: &[u8], most: usize) -> usize {
    let begins =
        |at: &usize| octets.get(*at).is_none_or(|octet| octet & 0b1100_0000 != 0b1000_0000);
    (most.saturating_sub(3)..=most).rev().find(begins).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::unfold::unfold;
    use super::*;

    fn folded(line: &str) -> String {
        let mut output = Vec::new();
        fold(line.as_bytes(), b"\r\n", &mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn a_line_is_folded_at_75_octets() {
        let line = "x".repeat(75);
        assert_eq!(folded(&line), format!("{line}\r\n"));
        assert_eq!(folded(&format!("{line}y")), format!("{line}\r\n y\r\n"));
        assert_eq!(folded(""), "\r\n");
    }

    #[test]
    fn a_character_is_never_split() {
        let line = format!("{}\u{1f600}\u{e4}", "x".repeat(73));
        assert_eq!(folded(&line), format!("{}\r\n \u{1f600}\u{e4}\r\n", "x".repeat(73)));
        let mut output = Vec::new();
        fold(&[0xbf; 200], b"\n", &mut output);
        assert!(output.split(|octet| *octet == b'\n').all(|line| line.len() <= 75));
    }

    proptest! {
        #[test]
        fn what_is_folded_is_unfolded_again(line in "[A-Z]\\PC{0,300}") {
            let folded = folded(&line);
            prop_assert_eq!(unfold(folded.as_bytes()), format!("{line}\n"));
            prop_assert!(folded.split("\r\n").all(|line| line.len() <= 75));
        }
    }
}

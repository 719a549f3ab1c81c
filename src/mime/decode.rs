//! Transfer encodings, undone piece by piece in bounded memory. Pure.
//!
//! RFC 2045 §6.7 (quoted-printable) and §6.8 (base64). As lenient as readers of mail are: what does not
//! belong into base64 is skipped, what is no escape in quoted-printable stands for itself. Where the
//! pieces are cut must never make a difference.

/// A Content-Transfer-Encoding, as far as it matters for getting the octets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// 7bit, 8bit, binary, and whatever is not known (RFC 2045 §6.4 has no better use for those).
    #[default]
    Identity,
    Base64,
    QuotedPrintable,
}

impl Encoding {
    pub fn parse(text: &str) -> Encoding {
        let text = text.trim();
        if text.eq_ignore_ascii_case("base64") {
            Encoding::Base64
        } else if text.eq_ignore_ascii_case("quoted-printable") {
            Encoding::QuotedPrintable
        } else {
            Encoding::Identity
        }
    }
}

/// Decodes one part. Give it the octets of the part in order, then [`Decoder::finish`].
#[derive(Debug, Clone)]
pub struct Decoder(State);

#[derive(Debug, Clone)]
enum State {
    Identity,
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    pub fn new(encoding: Encoding) -> Decoder {
        Decoder(match encoding {
            Encoding::Identity => State::Identity,
            Encoding::Base64 => State::Base64(Base64::default()),
            Encoding::QuotedPrintable => State::QuotedPrintable(QuotedPrintable::default()),
        })
    }

    /// Appends what these octets decode to: at most as many octets as were given, and a few that were
    /// held back before.
    pub fn push(&mut self, octets: &[u8], output: &mut Vec<u8>) {
        match &mut self.0 {
            State::Identity => output.extend_from_slice(octets),
            State::Base64(base64) => base64.push(octets, output),
            State::QuotedPrintable(quoted) => quoted.push(octets, output),
        }
    }

    /// Appends what is left. The decoder is as new then.
    pub fn finish(&mut self, output: &mut Vec<u8>) {
        match &mut self.0 {
            State::Identity => {}
            State::Base64(base64) => base64.flush(output),
            State::QuotedPrintable(quoted) => quoted.finish(output),
        }
    }
}

/// What a whole part decodes to.
pub fn whole(encoding: Encoding, octets: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(encoding);
    let mut output = Vec::with_capacity(octets.len());
    decoder.push(octets, &mut output);
    decoder.finish(&mut output);
    output
}

const NO_DIGIT: u8 = 0xff;
static DIGITS: [u8; 256] = digits();

const fn digits() -> [u8; 256] {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 64 {
        table[alphabet[value] as usize] = value as u8;
        value += 1;
    }
    table
}

fn digit(octet: u8) -> u8 {
    DIGITS.get(usize::from(octet)).copied().unwrap_or(NO_DIGIT)
}

/// Digits that do not make three octets yet.
#[derive(Debug, Clone, Default)]
struct Base64 {
    bits: u32,
    digits: u8,
}

impl Base64 {
    fn push(&mut self, mut octets: &[u8], output: &mut Vec<u8>) {
        loop {
            // Four digits at once, which is nearly all there is.
            while self.digits == 0
                && let [a, b, c, d, rest @ ..] = octets
            {
                let [a, b, c, d] = [a, b, c, d].map(|octet| digit(*octet));
                if (a | b | c | d) >= 64 {
                    break;
                }
                let bits =
                    u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
                let [_, one, two, three] = bits.to_be_bytes();
                output.extend_from_slice(&[one, two, three]);
                octets = rest;
            }
            let Some((octet, rest)) = octets.split_first() else { return };
            octets = rest;
            match (digit(*octet), *octet) {
                // Quirk(devices): padding in the middle, where two encoded texts were put together.
                (NO_DIGIT, b'=') => self.flush(output),
                // RFC 2045 §6.8: what is not in the alphabet is to be ignored.
                (NO_DIGIT, _) => {}
                (value, _) => {
                    self.bits = self.bits << 6 | u32::from(value);
                    self.digits += 1;
                    if self.digits == 4 {
                        let [_, one, two, three] = self.bits.to_be_bytes();
                        output.extend_from_slice(&[one, two, three]);
                        *self = Base64::default();
                    }
                }
            }
        }
    }

    /// The end of the text, or its padding: two digits make one octet, three make two.
    fn flush(&mut self, output: &mut Vec<u8>) {
        match self.digits {
            2 => output.extend((self.bits >> 4).to_be_bytes().last()),
            3 => output
                .extend(((self.bits >> 2) & 0xffff).to_be_bytes().get(2..).unwrap_or_default()),
            _ => {}
        }
        *self = Base64::default();
    }
}

#[derive(Debug, Clone, Default)]
struct QuotedPrintable {
    /// An escape as far as it has come: `=`, `=4`, `=` and white space, `=` and CR.
    escape: Vec<u8>,
    /// White space and CR that a line may end with.
    blank: Vec<u8>,
}

/// RFC 2045 §6.7 has lines of 76 octets, so no more white space than that can end one.
const BLANK_OCTETS_MAX: usize = 1_000;

impl QuotedPrintable {
    fn push(&mut self, mut octets: &[u8], output: &mut Vec<u8>) {
        while let Some((octet, rest)) = octets.split_first() {
            if self.escape.is_empty() && self.blank.is_empty() {
                // Text between what is special.
                let special = |octet: &u8| matches!(octet, b'=' | b' ' | b'\t' | b'\r');
                let plain = octets.iter().position(special).unwrap_or(octets.len());
                if let Some((text, rest)) = octets.split_at_checked(plain).filter(|_| plain > 0) {
                    output.extend_from_slice(text);
                    octets = rest;
                    continue;
                }
            }
            octets = rest;
            if self.escape.is_empty() {
                self.text(*octet, output)
            } else {
                self.escaped(*octet, output)
            }
        }
    }

    /// An octet outside an escape.
    fn text(&mut self, octet: u8, output: &mut Vec<u8>) {
        match octet {
            b' ' | b'\t' | b'\r' => {
                if self.blank.len() >= BLANK_OCTETS_MAX {
                    output.append(&mut self.blank);
                }
                self.blank.push(octet);
            }
            // RFC 2045 §6.7 (3): white space at the end of a line was added on the way.
            b'\n' => {
                let cr = self.blank.last() == Some(&b'\r');
                self.blank.clear();
                output.extend_from_slice(if cr { b"\r\n" } else { b"\n" });
            }
            b'=' => {
                output.append(&mut self.blank);
                self.escape.push(octet);
            }
            _ => {
                output.append(&mut self.blank);
                output.push(octet);
            }
        }
    }

    /// An octet after `=`.
    fn escaped(&mut self, octet: u8, output: &mut Vec<u8>) {
        match (self.escape.as_slice(), octet) {
            // RFC 2045 §6.7 (5): a soft line break, with white space that was added on the way.
            ([b'=', ..], b'\n') if !matches!(self.escape.get(1), Some(one) if hex(*one).is_some()) =>
            {
                self.escape.clear();
            }
            ([b'='], _) if hex(octet).is_some() => self.escape.push(octet),
            ([b'=', high], _) if hex(*high).is_some() => match (hex(*high), hex(octet)) {
                (Some(high), Some(low)) => {
                    output.push(high << 4 | low);
                    self.escape.clear();
                }
                _ => self.no_escape(octet, output),
            },
            (escape, b' ' | b'\t' | b'\r') if escape.len() < BLANK_OCTETS_MAX => {
                self.escape.push(octet);
            }
            _ => self.no_escape(octet, output),
        }
    }

    /// RFC 2045 §6.7: what only looks like an escape stands for itself.
    fn no_escape(&mut self, octet: u8, output: &mut Vec<u8>) {
        output.append(&mut self.escape);
        self.text(octet, output);
    }

    fn finish(&mut self, output: &mut Vec<u8>) {
        // A soft line break as the last thing of a part: its line end belongs to the delimiter.
        let soft = self.escape.iter().skip(1).all(|octet| octet.is_ascii_whitespace());
        if !soft {
            output.append(&mut self.escape);
        }
        self.escape.clear();
        // As at the end of a line.
        self.blank.clear();
    }
}

fn hex(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(encoding: Encoding, octets: &str) -> String {
        String::from_utf8(whole(encoding, octets.as_bytes())).unwrap()
    }

    #[test]
    fn base64_is_read_past_line_ends_junk_and_padding_in_the_middle() {
        for (from, to) in [
            ("", ""),
            ("YQ==", "a"),
            ("YWI=", "ab"),
            ("YWJj", "abc"),
            ("YW\r\nJj\r\n", "abc"),
            ("Y*W-J j", "abc"),
            ("YQ==YWI=", "aab"),
            ("YWI", "ab"),
            ("YWJjZ", "abc"),
        ] {
            assert_eq!(text(Encoding::Base64, from), to, "{from:?}");
        }
    }

    #[test]
    fn quoted_printable_keeps_what_is_no_escape_and_drops_white_space_before_a_line_end() {
        for (from, to) in [
            ("a=3Db", "a=b"),
            ("a=3db", "a=b"),
            ("a=\r\nb", "ab"),
            ("a= \t\r\nb", "ab"),
            ("a=\nb", "ab"),
            ("a  \r\nb", "a\r\nb"),
            ("a \t\nb", "a\nb"),
            ("a b", "a b"),
            ("x=yz", "x=yz"),
            ("x=4", "x=4"),
            ("x=4z", "x=4z"),
            ("x==41", "x=A"),
            ("end=", "end"),
            ("end  ", "end"),
        ] {
            assert_eq!(text(Encoding::QuotedPrintable, from), to, "{from:?}");
        }
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_makes_no_difference(
            octets in "[A-Za-z0-9+/= \t\r\n*=]{0,200}",
            cuts in prop::collection::vec(1_usize..9, 0..200),
        ) {
            for encoding in [Encoding::Base64, Encoding::QuotedPrintable, Encoding::Identity] {
                let mut decoder = Decoder::new(encoding);
                let (mut output, mut rest) = (Vec::new(), octets.as_bytes());
                for cut in &cuts {
                    let (piece, after) = rest.split_at((*cut).min(rest.len()));
                    decoder.push(piece, &mut output);
                    rest = after;
                }
                decoder.push(rest, &mut output);
                decoder.finish(&mut output);
                prop_assert_eq!(&output, &whole(encoding, octets.as_bytes()));
            }
        }

        #[test]
        // Escapes are whole: of half a one that is cut by a line end, the other reader takes both halves.
        fn what_another_reader_can_decode_is_decoded_alike(
            octets in any::<Vec<u8>>(),
            text in "([ -<>-~\r\n]|=[0-9A-Fa-f]{2}|=\n){0,200}",
        ) {
            use base64::Engine;
            let encoded = base64::engine::general_purpose::STANDARD.encode(&octets);
            prop_assert_eq!(whole(Encoding::Base64, encoded.as_bytes()), octets);
            let text = text.replace('\r', "").replace('\n', "\r\n") + "x\r\n";
            if let Some(expected) =
                mail_parser::decoders::quoted_printable::quoted_printable_decode(text.as_bytes())
            {
                prop_assert_eq!(whole(Encoding::QuotedPrintable, text.as_bytes()), expected);
            }
        }
    }
}

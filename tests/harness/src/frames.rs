//! Boundaries of RESP3 frames in a byte stream.

/// Tracks the frames of one direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Elements of the current frame still to come.
    remaining_elements: usize,
    /// Bytes of the current string still to come, including the line end after it.
    remaining_bytes: usize,
    /// Received part of an incomplete line.
    line: Vec<u8>,
    is_push: bool,
}

impl Frames {
    /// Returns whether the next byte begins a frame.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.remaining_elements == 0 && self.remaining_bytes == 0 && self.line.is_empty()
    }

    /// Consumes bytes of one frame, and returns how many, and whether the frame is a push.
    ///
    /// `bytes` must not be empty.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        if self.is_at_boundary() {
            (self.remaining_elements, self.is_push) = (1, bytes[0] == b'>');
        }
        if self.remaining_bytes > 0 {
            let length = self.remaining_bytes.min(bytes.len());
            self.remaining_bytes -= length;
            return (length, self.is_push);
        }
        let length = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        self.line.extend_from_slice(&bytes[..length]);
        if self.line.ends_with(b"\n") {
            self.end_line();
        }
        (length, self.is_push)
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        // The count is negative for a nil of RESP2.
        let count = String::from_utf8_lossy(&line[1..]).trim_end().parse().unwrap_or(0);
        self.remaining_elements = self.remaining_elements.saturating_sub(1);
        match line[0] {
            b'$' | b'=' | b'!' if !line.contains(&b'-') => self.remaining_bytes = count + 2,
            b'*' | b'~' | b'>' => self.remaining_elements += count,
            b'%' => self.remaining_elements += 2 * count,
            // Attributes precede the value that they describe.
            b'|' => self.remaining_elements += 2 * count + 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: [(&[u8], bool); 9] = [
        (b"+OK\r\n", false),
        (b">2\r\n$10\r\ninvalidate\r\n*1\r\n$3\r\na\r\n\r\n", true),
        (b"$5\r\n>1\r\n>\r\n", false),
        (b"*2\r\n:1\r\n*-1\r\n", false),
        (b">2\r\n$10\r\ninvalidate\r\n_\r\n", true),
        (b"%1\r\n$1\r\na\r\n*0\r\n", false),
        (b"$-1\r\n", false),
        (b"|1\r\n+a\r\n:1\r\n$0\r\n\r\n", false),
        (b"-ERR >1\r\n", false),
    ];

    #[test]
    fn pushes_are_separated_from_replies_in_pieces_of_any_size() {
        for piece in [1, 2, 3, 7, 1000] {
            let mut frames = Frames::default();
            let (mut pushes, mut others) = (Vec::new(), Vec::new());
            for mut bytes in FRAMES.map(|(bytes, _)| bytes).concat().chunks(piece) {
                while !bytes.is_empty() {
                    let (length, is_push) = frames.take(bytes);
                    if is_push { &mut pushes } else { &mut others }.extend_from_slice(&bytes[..length]);
                    bytes = &bytes[length..];
                }
            }
            let expected = |wanted| {
                let frames = FRAMES.iter().filter(|(_, is_push)| *is_push == wanted);
                frames.map(|(bytes, _)| *bytes).collect::<Vec<_>>().concat()
            };
            assert_eq!((pushes, others), (expected(true), expected(false)), "pieces of {piece}");
            assert!(frames.is_at_boundary());
        }
    }
}

//! What a program writes, line by line: for lists that may be longer than anybody would keep.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What is kept of one line, where lines are read: ids and sizes have a hundred bytes.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// Reads to the end, line by line.
pub(super) async fn split_lines(from: impl AsyncRead + Unpin, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut line = Vec::new();
    each_block(from, |block| {
        for piece in block.split_inclusive(|byte| *byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            line.extend_from_slice(&text[..text.len().min(LINE_BYTES_MAX - line.len())]);
            if text.len() < piece.len() {
                each(&line);
                line.clear();
            }
        }
    })
    .await?;
    if !line.is_empty() {
        each(&line);
    }
    Ok(())
}

/// Reads to the end, block by block as it comes.
pub(super) async fn each_block(
    mut from: impl AsyncRead + Unpin,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut block = vec![0_u8; 16 * 1024];
    loop {
        match from.read(&mut block).await? {
            0 => return Ok(()),
            count => each(&block[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_one_by_one_and_none_is_kept_whole_that_is_too_long() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        let text = format!("one\n\n{long}\nlast");
        let mut lines = Vec::new();
        split_lines(text.as_bytes(), |line| lines.push(line.len())).await.unwrap();
        assert_eq!(lines, [3, 0, LINE_BYTES_MAX, 4]);
    }
}

//! The whole screen of a terminal, for as long as something is shown on it.

use crate::output::{OutputError, print};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};
use std::io::Read;
use tokio::sync::mpsc;

/// Puts the cursor at the top and clears all below.
pub(super) const CLEAR: &str = "\x1b[H\x1b[J";
/// The screen that programs use which fill it, without a cursor; the user's own stays as it is below.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Back to the user's own.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Width and height of a terminal that does not tell.
const SIZE_DEFAULT: (usize, usize) = (80, 24);

/// See the module. Dropping it gives the terminal back as it was.
pub(super) struct Screen {
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal over; nothing when standard output is none. Ctrl-C stays what it is.
    pub(super) fn open() -> Result<Option<Screen>, OutputError> {
        if !isatty(rustix::stdio::stdout()) {
            return Ok(None);
        }
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).ok();
        if let Some(before) = &before {
            let mut keys = before.clone();
            // Keys come at once, and are not shown.
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            keys.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            let _ = tcsetattr(stdin, OptionalActions::Now, &keys);
        }
        let screen = Screen { before };
        print(ENTER)?;
        Ok(Some(screen))
    }

    /// Draws lines that fit; see [`size`].
    pub(super) fn draw(&self, lines: &[String]) -> Result<(), OutputError> {
        let mut text = String::from("\x1b[H");
        for (index, line) in lines.iter().enumerate() {
            if index > 0 {
                text.push_str("\r\n");
            }
            // The rest of the line is what was there before.
            text.push_str(line);
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J");
        print(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = print(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Width and height of the terminal.
pub(super) fn size() -> (usize, usize) {
    match tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        _ => SIZE_DEFAULT,
    }
}

/// The keys that are pressed, one after the other. The thread that reads them ends with the program.
pub(super) fn keys() -> mpsc::Receiver<u8> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut key = [0];
        while matches!(std::io::stdin().lock().read(&mut key), Ok(1)) {
            if sender.blocking_send(key[0]).is_err() {
                return;
            }
        }
    });
    receiver
}

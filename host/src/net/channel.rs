//! The bytes of one connection: as they are, or inside TLS. Reading and writing never block; any thread may write.

use parking_lot::Mutex;
use rustix::buffer::spare_capacity;
use rustls::Connection as TlsConnection;
use std::cell::RefCell;
use std::io::{BufRead, Error, ErrorKind, IoSlice, Result, Write};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Most encrypted bytes taken from the socket at a time: two records of TLS.
const CIPHERTEXT_BYTES: usize = 32 << 10;

/// How often the socket is read for records without content before the caller gets its turn.
const EMPTY_TURNS_MAX: u32 = 2;

/// A connection.
pub struct Channel {
    stream: TcpStream,
    /// A leaf lock; the only one that may be taken while that of `Outbound` is held.
    tls: Option<Mutex<TlsConnection>>,
}

impl Channel {
    /// Bytes as they are.
    pub fn plain(stream: TcpStream) -> Channel {
        Channel { stream, tls: None }
    }

    /// After the handshake.
    pub fn encrypted(stream: TcpStream, connection: TlsConnection) -> Channel {
        Channel { stream, tls: Some(Mutex::new(connection)) }
    }

    /// Whether the bytes are as they are.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Waits until there is something to read. What TLS has decrypted already counts only for [`Channel::try_read`].
    pub async fn readable(&self) -> Result<()> {
        self.stream.readable().await
    }

    /// Waits until the socket takes bytes.
    pub async fn writable(&self) -> Result<()> {
        self.stream.writable().await
    }

    /// Appends what has arrived to `space`, up to its spare capacity where it is plain; nothing when nothing has, 0 at the
    /// end.
    pub fn try_read(&self, space: &mut Vec<u8>) -> Result<Option<usize>> {
        let Some(tls) = &self.tls else { return read_socket(&self.stream, space) };
        let mut tls = tls.lock();
        for _ in 0..EMPTY_TURNS_MAX {
            let (count, ended) = take_plaintext(&mut tls, space)?;
            if count > 0 || ended {
                return Ok(Some(count));
            }
            match receive(&mut tls, &self.stream, space)? {
                None => return Ok(None),
                Some(Received { ciphertext: 0, .. }) => return Ok(Some(0)),
                // Handshake messages, or part of a record: nothing for the reader.
                Some(Received { plaintext: 0, .. }) => {}
                Some(Received { plaintext, .. }) => return Ok(Some(plaintext)),
            }
        }
        // The socket stays readable, so whoever waits for that comes back at once.
        Ok(None)
    }

    /// Hands over as many bytes as there is room for.
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        let Some(tls) = &self.tls else { return self.stream.try_write(bytes) };
        let mut tls = tls.lock();
        write_ciphertext(&mut tls, &self.stream)?;
        if tls.wants_write() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = tls.writer().write(bytes)?;
        write_ciphertext(&mut tls, &self.stream)?;
        Ok(count)
    }

    /// Hands the socket what was encrypted and not taken yet; returns whether some is left.
    pub fn flush(&self) -> Result<bool> {
        let Some(tls) = &self.tls else { return Ok(false) };
        let mut tls = tls.lock();
        write_ciphertext(&mut tls, &self.stream)?;
        Ok(tls.wants_write())
    }

    /// Says that nothing follows, in TLS too, so that the other side knows that nothing was cut off.
    pub fn say_goodbye(&self) {
        if let Some(tls) = &self.tls {
            let mut tls = tls.lock();
            tls.send_close_notify();
            let _ = write_ciphertext(&mut tls, &self.stream);
        }
    }

    /// The socket itself.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

thread_local! {
    /// Encrypted bytes between socket and rustls.
    static CIPHERTEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How many bytes came, and how many of the plaintext in them went to the reader.
struct Received {
    ciphertext: usize,
    plaintext: usize,
}

/// Reads what the socket has, and decrypts it; nothing when it has nothing.
fn receive(tls: &mut TlsConnection, stream: &TcpStream, space: &mut Vec<u8>) -> Result<Option<Received>> {
    CIPHERTEXT.with_borrow_mut(|ciphertext| {
        ciphertext.clear();
        ciphertext.reserve_exact(CIPHERTEXT_BYTES);
        if read_socket(stream, ciphertext)?.is_none() {
            return Ok(None);
        }
        let mut rest = &ciphertext[..];
        let mut plaintext = 0;
        while !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            if let Err(error) = tls.process_new_packets() {
                // The alert that says so; the connection ends either way.
                let _ = write_ciphertext(tls, stream);
                return Err(Error::new(ErrorKind::InvalidData, error));
            }
            // rustls holds only so much plaintext; it goes out as it comes.
            let (count, ended) = take_plaintext(tls, space)?;
            plaintext += count;
            if ended {
                break;
            }
        }
        Ok(Some(Received { ciphertext: ciphertext.len(), plaintext }))
    })
}

/// Moves what rustls has decrypted; returns how many bytes, and whether none will follow.
fn take_plaintext(tls: &mut TlsConnection, space: &mut Vec<u8>) -> Result<(usize, bool)> {
    let mut reader = tls.reader();
    let mut count = 0;
    loop {
        match reader.fill_buf() {
            Ok([]) => return Ok((count, true)),
            Ok(chunk) => {
                let length = chunk.len();
                space.extend_from_slice(chunk);
                reader.consume(length);
                count += length;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((count, false)),
            Err(error) => return Err(error),
        }
    }
}

/// Reads what the socket has into the spare capacity of `space`.
fn read_socket(stream: &TcpStream, space: &mut Vec<u8>) -> Result<Option<usize>> {
    let mut read = None;
    let tried = stream.try_io(Interest::READABLE, || {
        let count = rustix::io::read(stream, spare_capacity(&mut *space))?;
        read = Some(count);
        // A short read has emptied the socket. Saying so now saves the call that would find it out; whatever comes
        // later wakes the connection anew.
        if count > 0 && space.len() < space.capacity() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match (read, tried) {
        (Some(count), _) => Ok(Some(count)),
        (None, Err(error)) if error.kind() != ErrorKind::WouldBlock => Err(error),
        (None, _) => Ok(None),
    }
}

fn write_ciphertext(tls: &mut TlsConnection, stream: &TcpStream) -> Result<()> {
    while tls.wants_write() {
        match tls.write_tls(&mut Socket(stream)) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The socket as rustls writes to it.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

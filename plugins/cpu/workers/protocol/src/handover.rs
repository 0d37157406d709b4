//! Hands the claims page to a new worker.

use crate::Claims;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

/// Goes with the descriptor, since a message cannot be empty.
const GREETING: &[u8] = b"P";

/// Sends the descriptor of a claims page, as the first thing on a worker's socket.
pub fn send_claims(socket: impl AsFd, page: BorrowedFd<'_>) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [page];
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(GREETING)], &mut ancillary, SendFlags::empty())?;
    Ok(())
}

/// Receives and maps the page. Blocks until it is there.
pub fn receive_claims(socket: impl AsFd) -> std::io::Result<Claims> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut greeting = [0; 1];
    recvmsg(socket, &mut [IoSliceMut::new(&mut greeting)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message
            && let Some(page) = descriptors.next()
        {
            return Claims::map(page);
        }
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "no claims page came with the first message"))
}

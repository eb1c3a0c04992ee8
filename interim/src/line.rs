//! The connection below hyper, and whose turn it is on it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};

use crate::Sent;

/// The most bytes of interim responses that wait for a client to read.
const WAITING_BYTES_MAX: usize = 8 << 10;

/// A connection that has interim responses put between what hyper writes.
#[derive(Debug)]
pub struct Line<I> {
    io: I,
    turns: Arc<Turns>,
}

/// What a connection and the handlers of its requests share.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The request whose handler runs.
    turn: Option<u64>,
    /// How many requests there were.
    turns: u64,
    /// hyper has flushed, and has not tried to write since.
    settled: bool,
    /// Interim responses that go out before hyper's next byte.
    waiting: BytesMut,
    /// Wakes whoever drives the connection, so that it flushes.
    driver: Option<Waker>,
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic is done while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a request's turn.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.turns += 1;
        state.turn = Some(state.turns);
        state.turns
    }

    /// Ends a turn: from here on hyper may write the final response.
    pub(crate) fn end(&self, turn: u64) {
        let mut state = self.state();
        if state.turn == Some(turn) {
            state.turn = None;
        }
    }

    /// Takes a whole message, if this is where one may stand.
    pub(crate) fn send(&self, turn: u64, message: &[u8]) -> Sent {
        let driver = {
            let mut state = self.state();
            if state.turn != Some(turn) {
                return Sent::Late;
            }
            if !state.settled || state.waiting.len() + message.len() > WAITING_BYTES_MAX {
                return Sent::Busy;
            }
            state.waiting.extend_from_slice(message);
            state.driver.clone()
        };
        if let Some(driver) = driver {
            driver.wake();
        }
        Sent::Sent
    }
}

impl<I> Line<I> {
    pub(crate) fn new(io: I) -> Self {
        let state =
            State { turn: None, turns: 0, settled: true, waiting: BytesMut::new(), driver: None };
        Self { io, turns: Arc::new(Turns(Mutex::new(state))) }
    }

    pub(crate) fn turns(&self) -> Arc<Turns> {
        self.turns.clone()
    }
}

impl<I> Drop for Line<I> {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.turn = None;
        state.driver = None;
    }
}

impl<I: Write + Unpin> Line<I> {
    /// Writes what waits. hyper's next byte comes after the last of it.
    fn poll_waiting(
        &mut self,
        state: &mut State,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !state.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &state.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.waiting.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// hyper wants to write: from now on something of its own may be half written.
    fn poll_before_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let turns = self.turns.clone();
        let mut state = turns.state();
        state.settled = false;
        self.poll_waiting(&mut state, context)
    }
}

impl<I: Read + Unpin> Read for Line<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<I: Write + Unpin> Write for Line<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_before_write(context))?;
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_before_write(context))?;
        Pin::new(&mut self.io).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper's buffer is empty. It flushes at the end of each of its turns, so that whoever drives
    /// the connection is known from here.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let turns = self.turns.clone();
        {
            let mut state = turns.state();
            state.settled = true;
            match &mut state.driver {
                Some(driver) => driver.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            ready!(self.poll_waiting(&mut state, context))?;
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_before_write(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

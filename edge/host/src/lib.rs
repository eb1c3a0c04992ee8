//! The self-hosted edge node: wasmtime around the edge component, and a native driver.
//!
//! The component decides; this crate does all I/O. A request's head goes into the component, which
//! answers with needs; the driver meets them with a cache shared by all threads, a key-value
//! store, a limiter, native signature checks and pooled connections to the origin, and resumes.
//! Nothing blocks inside WebAssembly, and no policy is here.
//!
//! Read [`driver`] for the way of a request, [`instances`] for how the component is kept and
//! replaced.

mod body;
mod boundary;
mod cache;
mod composed;
mod connections;
mod convert;
mod disk;
mod documents;
mod driver;
mod encoder;
mod head;
mod instances;
mod kept;
mod kept_handover;
mod limiter;
mod metrics;
mod node;
mod overload;
mod pace;
mod page;
mod prefetcher;
mod purges;
mod replay;
mod shares;
mod signature;
mod signing;
mod stored_body;
mod tls;
mod tokens;
mod upstream;
mod values;

pub use boundary::Boundary;
pub use connections::ConnectionBounds;
pub use instances::{ComponentError, precompile};
pub use kept::KeptError;
pub use node::{Config, EdgeNode, StartError};
pub use overload::Shedding;
pub use page::{PageFile, assets};
pub use replay::Replay;
pub use signature::is_signed;
pub use signing::Signing;
pub use tls::{TlsConfig, TlsStartError};
pub use tokens::Tokens;

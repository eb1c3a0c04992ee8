//! What the program carries: the edge's component, compiled ahead of time, and the page.

use outport_edge_host::PageFile;

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

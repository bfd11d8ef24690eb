//! What settings are made of: keys, the layers they come from, and the reader that turns them into values and
//! collects every problem on the way. Knows no module's keys; `config.rs` sums those up.

mod key;
mod layers;
mod picture;
mod reader;
mod value;

pub use key::{Key, Kind};
pub use layers::{Env, Layers, MapEnv, ProcessEnv};
pub use picture::{Fingerprint, Picture};
pub use reader::{Problem, Problems, Reader};

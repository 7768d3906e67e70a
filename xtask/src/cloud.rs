//! The Python environment of the emulated clouds, which some tests need.

use anyhow::{Context, Result};
use imps_testbed::cloud::environment;

use crate::console::Console;

/// Makes the environment unless it is there, and shows how it goes; an error says why tests are skipped.
pub(crate) fn provide() -> Result<()> {
    let mut console = Console::new();
    let built = environment::build(&mut |news| console.show(&news));
    built.map(drop).context("the tests of the emulated clouds are skipped")
}

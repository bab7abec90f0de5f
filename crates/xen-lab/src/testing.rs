//! The lab in tests: one for all of a program's, and no silence about one that is missing.

use std::env;
use std::io::{Write as _, stderr};
use std::sync::LazyLock;

use crate::{error::FindError, lab::Lab};

static FOUND: LazyLock<Result<Lab, FindError>> = LazyLock::new(Lab::find);

impl Lab {
    /// The lab for `test`; `None` where QEMU or Xen cannot be had, which is said on standard error. The test is to
    /// pass then.
    ///
    /// # Panics
    /// With `CI=true` where there is none, and anywhere if the lab is broken in another way.
    #[must_use]
    pub fn for_test(test: &str) -> Option<&'static Self> {
        Self::found_for_test(&FOUND, test)
    }

    /// The same of a lab with sources of the tests' own, as [`Lab::with`] found it.
    ///
    /// # Panics
    /// As [`Lab::for_test`].
    #[must_use]
    pub fn found_for_test<'l>(found: &'l Result<Self, FindError>, test: &str) -> Option<&'l Self> {
        let error = match found {
            Ok(lab) => return Some(lab),
            Err(error) => error,
        };
        let may_be_missing = matches!(error, FindError::QemuMissing { .. } | FindError::XenMissing { .. });
        assert!(may_be_missing && env::var_os("CI").is_none_or(|ci| ci != "true"), "{error}");
        // Not by `eprintln`, which the test harness keeps to itself, and in one piece.
        let _ = stderr().write_all(format!("SKIPPED: {test}: {error}\n").as_bytes());
        None
    }
}

//! Advice about the daemon as a service.

use std::error::Error;

use crate::service::ServiceError;

/// What to do about an error of `lapwing service`.
pub(super) fn for_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    let advice = match cause.downcast_ref()? {
        ServiceError::Changed { .. } => {
            "--force writes over it or removes it; what is to stay belongs into a drop-in, \
             `systemctl --user edit lapwing.service`"
        }
        ServiceError::NotInstalled { .. } => "`lapwing service install` installs it",
        ServiceError::NoSystemd { .. } => {
            "`lapwing serve` runs without it; `lapwing service install --dry-run` prints the units"
        }
        ServiceError::Refused { said, .. } if said.contains("connect to bus") => {
            "this login has no systemd of its own: log in on the machine itself or by ssh, not by su \
             or sudo"
        }
        ServiceError::Refused { .. } | ServiceError::Characters { .. } | ServiceError::File(_) => {
            return None;
        }
    };
    Some(advice.to_owned())
}

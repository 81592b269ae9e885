//! What each service does with its caller.

use crate::config::Service;
use crate::media::Task;

/// What the caller hears first.
pub(super) fn begin(service: Service) -> Task {
    match service {
        Service::Echo => Task::Echo,
    }
}

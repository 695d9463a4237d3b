//! Docker, Podman, Kubernetes: what is different inside.

use super::finding::{DoctorArea, DoctorFinding};
use super::subject::DoctorSubject;
use std::path::Path;

const AREA: DoctorArea = DoctorArea::Container;

/// Whether this is inside of one, and how locum is best run there.
pub fn find(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let is_there = |path: &str| Path::new(path).exists();
    vec![if (subject.was)("KUBERNETES_SERVICE_HOST").is_some() {
        DoctorFinding::ok(AREA, "in a pod of Kubernetes").with_next(
            "run locum as a container of its own in the pod (examples/sidecar.toml), with the keys mounted there alone and \
             [ca] export on a volume that both share",
        )
    } else if is_there("/.dockerenv") || is_there("/run/.containerenv") {
        DoctorFinding::ok(AREA, "in a container").with_next(
            "an agent is kept from keys best by a container of its own that reaches nothing but locum: \
             examples/docker-compose.yml",
        )
    } else {
        DoctorFinding::ok(AREA, "not in one")
    }]
}

//! Ends of processes, for which others wait: resources of one unit, which the process has itself.

/// The process for whose end those wait who wait for a resource, if it is such a one.
pub(crate) fn process_of(resource: &str) -> Option<&str> {
    resource.strip_prefix("child:").or_else(|| resource.strip_prefix("process:"))
}

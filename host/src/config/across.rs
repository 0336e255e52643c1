//! Checks of pipelines against each other.

use std::collections::BTreeMap;

use super::problem::Findings;
use super::resolve::Sites;

/// Tells names that are given twice, and lease tables that two pipelines would share.
pub(super) fn check(all: &[Sites], findings: &mut Findings) {
    let mut names = BTreeMap::new();
    let mut tables = BTreeMap::new();
    for sites in all {
        let mut is_new = true;
        if let Some(name) = &sites.name {
            let first = *names.entry(&name.value).or_insert(&name.site);
            is_new = first == &name.site;
            if !is_new {
                findings
                    .add(
                        &name.site,
                        format!("there is another pipeline `{}`", name.value),
                    )
                    .help("give each pipeline a name of its own: it names leases, logs and metrics")
                    .also(first, "the other one");
            }
        }
        if let Some(table) = &sites.table {
            let first = *tables.entry(&table.value).or_insert(&table.site);
            // Two pipelines of one name share their default table too; the name has been told.
            if is_new && first != &table.site {
                findings
                    .add(
                        &table.site,
                        format!("the lease table `{}` is another pipeline's too", table.value.1),
                    )
                    .help("set `leases.table` to a table of its own: they would take each other's shards")
                    .also(first, "the other one");
            }
        }
    }
}

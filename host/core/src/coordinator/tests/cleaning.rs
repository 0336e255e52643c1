//! Which rows are deleted, and when.

use super::*;

fn deletes(effects: &[CoordinatorEffect]) -> Vec<String> {
    let deleted = effects.iter().filter_map(|effect| match effect {
        CoordinatorEffect::Delete(shard) => Some(shard.to_string()),
        _ => None,
    });
    deleted.collect()
}

/// The rows of a finished parent "p" and of its children as they are given, each with its owner and checkpoint; they say
/// who the children are only if `is_noted`.
fn family(children: &[(&str, Checkpoint)], noted: &[&str]) -> Vec<Lease> {
    let mut parent = row("p", None, Checkpoint::ShardEnd);
    parent.children = noted.iter().map(|child| ShardId::from(*child)).collect();
    let mut rows = vec![parent];
    for (child, checkpoint) in children {
        let mut child = row(child, Some("other"), checkpoint.clone());
        child.parents = vec![ShardId::from("p")];
        rows.push(child);
    }
    rows
}

/// What is deleted of these rows, of which this worker takes the parent's, however long it waits.
fn deleted_of(rows: &[Lease], listed: Vec<Shard>) -> Vec<String> {
    let (mut bench, effects) = Bench::with_rows(rows.to_vec());
    bench.machine.shards = Some(listed);
    bench.grant(&effects);
    let seen = |bench: &Bench| {
        let rows = rows.iter().map(|row| {
            let mine = bench.machine.held.contains_key(&row.shard);
            let known = bench.machine.rows.get(&row.shard).filter(|_| mine);
            let mut row = known.unwrap_or(row).clone();
            if !mine && row.owner.is_some() {
                row.counter = bench.now.as_nanos();
            }
            row
        });
        rows.collect::<Vec<_>>()
    };
    let rows = seen(&bench);
    let effects = bench.relist(Duration::from_secs(1), rows);
    assert_eq!(
        deletes(&effects),
        [] as [String; 0],
        "somebody may still act on older rows"
    );
    bench.wait_while_rows_are_kept();
    let rows = seen(&bench);
    let effects = bench.relist(Duration::from_millis(100), rows);
    deletes(&effects)
}

/// KCL: testParentShardLeaseNotDeletedWhenChildIsAtTrim and its siblings.
#[test]
fn a_parents_row_stays_until_every_child_has_begun() {
    use Checkpoint::{AtTimestamp, Latest, ShardEnd, TrimHorizon};
    let gone = ["p".to_owned()];
    let kept: [String; 0] = [];
    let split = |left, right| family(&[("l", left), ("r", right)], &["l", "r"]);
    assert_eq!(deleted_of(&split(at(4), at(4)), Vec::new()), gone);
    assert_eq!(deleted_of(&split(at(4), ShardEnd), Vec::new()), gone);
    for not_begun in [TrimHorizon, AtTimestamp] {
        assert_eq!(
            deleted_of(&split(at(4), not_begun.clone()), Vec::new()),
            kept
        );
        assert_eq!(deleted_of(&split(not_begun, at(4)), Vec::new()), kept);
    }
    // Nobody reads a child from the begin that was made to be read from what came next.
    assert_eq!(deleted_of(&split(at(4), Latest), Vec::new()), gone);
    // A child without a row.
    let half = family(&[("l", at(4))], &["l", "r"]);
    assert_eq!(deleted_of(&half, Vec::new()), kept);
    // KCL notes the children only after the end: the listing tells who they are, and without it nothing does.
    let unnoted = |right| family(&[("l", at(4)), ("r", right)], &[]);
    let listed = || {
        vec![
            open_shard("p", &[]),
            open_shard("l", &["p"]),
            open_shard("r", &["p"]),
        ]
    };
    assert_eq!(deleted_of(&unnoted(at(4)), listed()), gone);
    assert_eq!(deleted_of(&unnoted(TrimHorizon), listed()), kept);
    assert_eq!(deleted_of(&unnoted(at(4)), Vec::new()), kept);
    // One that is not finished, though its children have begun.
    let mut unfinished = split(at(4), at(4));
    unfinished[0].checkpoint = at(9);
    assert_eq!(deleted_of(&unfinished, Vec::new()), kept);
}

#[test]
fn a_finished_row_goes_when_its_children_have_got_on_and_its_parents_are_gone() {
    let lineage = |child: Checkpoint| {
        let mut grandparent = row("1", None, Checkpoint::ShardEnd);
        let mut parent = row("2", None, Checkpoint::ShardEnd);
        let mut last = row("3", Some("other"), child);
        grandparent.children = vec![ShardId::from("2")];
        parent.parents = vec![ShardId::from("1")];
        parent.children = vec![ShardId::from("3")];
        last.parents = vec![ShardId::from("2")];
        vec![grandparent, parent, last]
    };
    let deletes = |effects: Vec<CoordinatorEffect>| {
        let deleted = effects.into_iter().filter_map(|effect| match effect {
            CoordinatorEffect::Delete(shard) => Some(shard.to_string()),
            _ => None,
        });
        deleted.collect::<Vec<_>>()
    };
    let is_written = |effects: &[CoordinatorEffect]| {
        let mut effects = effects.iter();
        effects.any(|effect| matches!(effect, CoordinatorEffect::Write(_)))
    };
    let (mut bench, effects) = Bench::with_rows(lineage(Checkpoint::TrimHorizon));
    let mut taken = takes(&effects);
    taken.sort_unstable();
    assert_eq!(
        taken,
        ["1", "2"],
        "they are somebody's to count and to keep"
    );
    assert_eq!(started(&bench.grant(&effects)), []);
    let soon = Duration::from_secs(1);
    let theirs = |bench: &Bench, child| {
        let mut rows = lineage(child);
        rows.retain(|row| row.shard.as_str() == "3" || bench.machine.rows.contains(&row.shard));
        for row in &mut rows[..] {
            if let Some(known) = bench.machine.rows.get(&row.shard)
                && row.shard.as_str() != "3"
            {
                *row = known.clone();
            }
        }
        rows
    };
    let none: [String; 0] = [];
    let rows = theirs(&bench, Checkpoint::TrimHorizon);
    let effects = bench.relist(soon, rows);
    assert_eq!(
        deletes(effects),
        none,
        "somebody may still act on older rows"
    );
    bench.wait_while_rows_are_kept();
    let rows = theirs(&bench, Checkpoint::TrimHorizon);
    assert_eq!(deletes(bench.relist(soon, rows)), ["1"]);
    bench.now = bench.now + FAILOVER / 3;
    let renewals = bench.tell(CoordinatorEvent::Tick);
    assert!(is_written(&renewals), "what waits for its child is renewed");
    bench.tell(CoordinatorEvent::Deleted {
        shard: ShardId::from("1"),
        outcome: Ok(()),
    });
    let rows = theirs(&bench, Checkpoint::TrimHorizon);
    assert_eq!(
        deletes(bench.relist(soon, rows)),
        none,
        "its child has not begun"
    );
    for effect in renewals {
        if let CoordinatorEffect::Write(write) = effect {
            bench.tell(CoordinatorEvent::Written {
                tenure: write.held.tenure(),
                outcome: Ok(after(write.held.counter + 1)),
            });
        }
    }
    let rows = theirs(&bench, at(4));
    bench.relist(soon, rows);
    bench.wait_while_rows_are_kept();
    let rows = theirs(&bench, at(4));
    assert_eq!(deletes(bench.relist(soon, rows)), ["2"]);
}

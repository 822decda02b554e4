//! Judging a statement allocates nothing: the allocator of this test binary counts.

#![expect(unsafe_code, reason = "an allocator that counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use pgring::sql::{
    catalog::{Catalog, FunctionFact, RelationFact},
    class::{Class, Knowledge, class, overrides::Overrides},
};

const STATEMENTS: &str = include_str!("golden/classify/classes.sql");

thread_local! {
    static COUNTED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts.
struct Counting;

// SAFETY: every call is passed on as it is; what is added neither touches the memory nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNTED.set(COUNTED.get() + 1);
        // SAFETY: passed on to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: passed on to the caller.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// `projects`: a column may call a function that writes, so that each name has to be looked at.
fn catalog(projects: bool) -> Catalog {
    let function = |(name, volatile): (&str, bool)| FunctionFact {
        schema: "pg_catalog".to_owned(),
        name: name.to_owned(),
        volatile,
        projects: volatile && projects,
    };
    let relation = |name: &str| RelationFact {
        oid: 1,
        schema: "public".to_owned(),
        name: name.to_owned(),
        kind: 'r',
        persistence: 'p',
        row_security: false,
        bases: Vec::new(),
        calls_writers: false,
    };
    let functions = [("count", false), ("lower", false), ("nextval", true)];
    Catalog::new(functions.map(function), ["t", "t1", "t2"].map(relation))
}

#[test]
fn judging_allocates_nothing() {
    let statements: Vec<_> = STATEMENTS
        .lines()
        .map(|line| line.replace('↵', "\n"))
        .collect();
    let overrides = Overrides::default();
    let mut reads = Vec::new();
    for catalog in [true, false].map(catalog) {
        let knowledge = Knowledge {
            catalog: Some(&catalog),
            overrides: &overrides,
        };
        let is_read = |text: &&String| class(text.as_bytes(), &knowledge) == Class::Read;
        let before = COUNTED.get();
        let count = statements.iter().filter(is_read).count();
        assert_eq!(COUNTED.get() - before, 0, "allocations");
        reads.push(count);
    }
    assert!(reads[0] > 100 && reads[0] == reads[1], "{reads:?} reads");
    let before = COUNTED.get();
    drop(Box::new(1));
    assert!(COUNTED.get() > before, "allocations are counted");
}

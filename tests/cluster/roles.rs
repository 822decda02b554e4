//! Which node is the primary, which are down and which are fenced, as `SHOW POOL_NODES` tells it.

use crate::replicated::Replicated;

#[test]
fn roles_positions_and_states_are_found() {
    let stage = Replicated::new(2, |config| config);
    let columns = [
        "status",
        "pg_status",
        "role",
        "pg_role",
        "replication_state",
    ];
    let expected = [
        "waiting up primary primary ",
        "waiting up standby standby streaming",
        "waiting up standby standby streaming",
    ];
    stage.wait_for_columns(&columns, &expected);
    let columns = ["node_id", "port", "lb_weight", "replication_sync_state"];
    let ports: Vec<_> = stage
        .server
        .servers()
        .map(|it| it.address().port())
        .collect();
    let expected = [
        format!("0 {} 0.333333 ", ports[0]),
        format!("1 {} 0.333333 async", ports[1]),
        format!("2 {} 0.333333 async", ports[2]),
    ];
    assert_eq!(stage.columns(&columns), expected);
}

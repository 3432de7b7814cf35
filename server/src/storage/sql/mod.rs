//! The queries, by aggregate, in the SQL that both databases understand.
//!
//! Each backend has this folder as a module of its own, and `dialect` is the one beside it. Rows are locked from the
//! outside in, so that no two transactions wait for each other: organization, user, meeting, session, then the rest.

// Two modules of one file: that is the point.
#![allow(clippy::duplicate_mod)]

mod audit;
mod clients;
mod maintenance;
mod meetings;
mod organizations;
mod participants;
mod presets;
mod row;
mod sessions;
mod users;

use super::dialect;

/// A query for a page of a list that also counts the whole list, at the same moment. The query must bind the limit and
/// the offset at the given places. Counts in the column `total`; see [`row::listed`].
macro_rules! page {
    ($matching:expr, order by $order:literal, limit $limit:literal, offset $offset:literal) => {
        concat!(
            "WITH matching AS NOT MATERIALIZED (",
            $matching,
            ") SELECT total, page.* FROM (SELECT count(*) AS total FROM matching) AS counted \
             LEFT JOIN (SELECT * FROM matching ORDER BY ",
            $order,
            " LIMIT ",
            $limit,
            " OFFSET ",
            $offset,
            ") AS page ON TRUE ORDER BY ",
            $order
        )
    };
}
use page;

//! Who the callers of the API are now: looked up at each request, so that a change counts at once.
//!
//! An answer is remembered for a second at most. Whoever was deactivated or removed is out after that, on every server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use darktower_core::access::{Actor, Scope};
use darktower_core::named::Named as _;
use darktower_protocol::{OrganizationId, UserId};

use crate::auth::recent::Recent;
use crate::auth::{AccessClaims, Subject};
use crate::storage::{Store, StoreError};

/// How long a look-up is believed.
const MAX_AGE: Duration = Duration::from_secs(1);
/// Users and clients that are remembered: twice as many of each at most, about 100 bytes each.
const REMEMBERED: usize = 4096;

/// Looks callers up.
pub(super) struct Directory {
    store: Arc<dyn Store>,
    /// The client of the configuration, which belongs to the default organization and is not in the store.
    configured: Option<(String, OrganizationId)>,
    users: Recent<UserId, Known>,
    clients: Recent<String, Known>,
}

#[derive(Clone)]
struct Known {
    looked_up: Instant,
    organization: OrganizationId,
    actor: Actor,
}

impl Directory {
    pub(super) fn new(store: Arc<dyn Store>, configured: Option<(String, OrganizationId)>) -> Self {
        Self { store, configured, users: Recent::new(REMEMBERED), clients: Recent::new(REMEMBERED) }
    }

    /// What the subject of a valid access token may do; `None` if it is not there any more, or not active.
    pub(super) async fn actor(&self, claims: &AccessClaims) -> Result<Option<Actor>, StoreError> {
        let known = match &claims.subject {
            Subject::User { id, .. } => self.user(*id).await?,
            Subject::Client(id) => self.client(id).await?,
        };
        // Ids are unique in the deployment. An organization that differs means that the id was given to another.
        Ok(known.filter(|known| known.organization == claims.organization_id).map(|known| known.actor))
    }

    async fn user(&self, id: UserId) -> Result<Option<Known>, StoreError> {
        if let Some(known) = self.users.get(&id).filter(is_fresh) {
            return Ok(Some(known));
        }
        // Taken before the look-up, so that the age of the answer counts from the question.
        let looked_up = Instant::now();
        let Some(user) = self.store.user(id).await?.filter(|user| user.is_active) else {
            self.users.remove(&id);
            return Ok(None);
        };
        let known = Known { looked_up, organization: user.organization_id, actor: Actor::User(user.role) };
        self.users.insert(id, known.clone());
        Ok(Some(known))
    }

    async fn client(&self, id: &str) -> Result<Option<Known>, StoreError> {
        let looked_up = Instant::now();
        if let Some((configured, organization)) = &self.configured
            && configured == id
        {
            let actor = Actor::Client(Scope::ALL.to_vec());
            return Ok(Some(Known { looked_up, organization: *organization, actor }));
        }
        if let Some(known) = self.clients.get(id).filter(is_fresh) {
            return Ok(Some(known));
        }
        let Some(client) = self.store.client(id).await? else {
            self.clients.remove(id);
            return Ok(None);
        };
        let known =
            Known { looked_up, organization: client.organization_id, actor: Actor::Client(client.scopes) };
        self.clients.insert(id.to_owned(), known.clone());
        Ok(Some(known))
    }

    /// Has a user looked up again: it was changed here.
    pub(super) fn forget_user(&self, id: UserId) {
        self.users.remove(&id);
    }

    /// Has a client looked up again.
    pub(super) fn forget_client(&self, id: &str) {
        self.clients.remove(id);
    }
}

fn is_fresh(known: &Known) -> bool {
    known.looked_up.elapsed() < MAX_AGE
}

//! What meetings need to know of their organizations, at most a second old: the common request costs no query for it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use darktower_protocol::OrganizationId;
use tokio::sync::OnceCell;

use crate::storage::model::OrganizationSettings;
use crate::storage::{Store, StoreError};

/// A change takes effect within this time.
const MAX_AGE: Duration = Duration::from_secs(1);

/// Bounds the memory: about 2 KiB each with the shipped presets' names.
const MAX_ENTRIES: usize = 10_000;

/// The organizations that requests were about lately.
pub(super) struct KnownOrganizations {
    store: Arc<dyn Store>,
    entries: Mutex<HashMap<OrganizationId, Arc<Known>>>,
}

/// One organization.
pub(super) struct Known {
    id: OrganizationId,
    /// What its administrators chose.
    pub(super) settings: OrganizationSettings,
    read_at: Instant,
    /// Read when the first request asks for them.
    presets: OnceCell<BTreeSet<String>>,
    running_sessions: OnceCell<u64>,
}

impl KnownOrganizations {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, entries: Mutex::default() }
    }

    /// An organization; `None` if there is none.
    pub(super) async fn read(&self, id: OrganizationId) -> Result<Option<Arc<Known>>, StoreError> {
        if let Some(known) = self.fresh(id) {
            return Ok(Some(known));
        }
        // Several requests at once may ask; the answers are the same.
        let read_at = Instant::now();
        let Some(organization) = self.store.organization(id).await? else { return Ok(None) };
        let (presets, running_sessions) = (OnceCell::new(), OnceCell::new());
        let known =
            Arc::new(Known { id, settings: organization.settings, read_at, presets, running_sessions });
        let mut entries = self.entries.lock().expect("no code panics while it holds this lock");
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, known| known.is_fresh());
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
        }
        entries.insert(id, Arc::clone(&known));
        Ok(Some(known))
    }

    fn fresh(&self, id: OrganizationId) -> Option<Arc<Known>> {
        let entries = self.entries.lock().expect("no code panics while it holds this lock");
        entries.get(&id).filter(|known| known.is_fresh()).cloned()
    }
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.read_at.elapsed() < MAX_AGE
    }

    /// Whether the organization has a preset of this name.
    pub(super) async fn has_preset(&self, store: &dyn Store, name: &str) -> Result<bool, StoreError> {
        let names = self.presets.get_or_try_init(|| async {
            let presets = store.presets(self.id).await?;
            Ok::<_, StoreError>(presets.into_iter().map(|stored| stored.preset.name).collect())
        });
        Ok(names.await?.contains(name))
    }

    /// How many of its sessions run.
    pub(super) async fn running_sessions(&self, store: &dyn Store) -> Result<u64, StoreError> {
        self.running_sessions.get_or_try_init(|| store.count_active_sessions(self.id)).await.copied()
    }
}

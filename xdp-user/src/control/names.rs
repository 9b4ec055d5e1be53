//! Names of lists and the numbers that stand for them in the kernel.

use super::entries::ListId;
use crate::domain::ListName;

/// The list that the configuration's own entries are in.
pub const CONFIG: &str = "config";
/// The list that entries without a list go to.
pub const MANUAL: &str = "manual";

/// Names in the order of their numbers. A number is good as long as the program is loaded.
#[derive(Debug, Default)]
pub struct ListNames(Vec<ListName>);

impl ListNames {
    /// The number of a name, a new one if need be.
    pub fn id(&mut self, name: &ListName) -> ListId {
        let index = self
            .0
            .iter()
            .position(|known| known == name)
            .unwrap_or_else(|| {
                self.0.push(name.clone());
                self.0.len() - 1
            });
        ListId::try_from(index).unwrap_or(ListId::MAX)
    }

    /// The number of a name that is in use.
    pub fn find(&self, name: &ListName) -> Option<ListId> {
        let index = self.0.iter().position(|known| known == name)?;
        ListId::try_from(index).ok()
    }

    /// The name of a number.
    pub fn name(&self, id: ListId) -> Option<&ListName> {
        self.0.get(usize::try_from(id).ok()?)
    }
}

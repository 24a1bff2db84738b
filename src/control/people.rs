//! The first operator, and the way back in for who has lost their password.

use std::path::{Path, PathBuf};

use super::{Control, Error, password, scope::Role, secret_file, store::NewUser};

/// Name of the first operator.
const OPERATOR: &str = "operator";

// === impl Control ===

impl Control {
    /// Adds the first operator, once; their password lies in a file of mode 0600. The file's path while it is there.
    pub(super) async fn first_operator(&self) -> Result<Option<PathBuf>, Error> {
        let inner = &*self.inner;
        let path = inner.data.join("operator-password");
        if inner.store.user_count().await? == 0 {
            let password = password::mint();
            let hash = inner.passwords.hash(password.clone()).await?;
            let mut commit = inner.store.begin("first start").await?;
            // Once more, inside the transaction: another control plane on this store may have been first.
            if commit.user_count().await? == 0 {
                commit.insert_user(operator(hash)).await?;
                // The file first: a crash in between leaves a password for nobody, not somebody without a password.
                secret_file::write(&path, &password)?;
                commit.finish_unpublished().await?;
            }
        }
        Ok(path.exists().then_some(path))
    }

    /// Gives that person a new password, which lies in the file that is answered, and ends their sessions. Where there is
    /// no operator of the first operator's name, they are made again.
    ///
    /// # Errors
    /// There is no such person, or the store or the file can't be written.
    pub async fn reset_password(&self, name: &str) -> Result<PathBuf, Error> {
        let inner = &*self.inner;
        let login = inner.store.login(name).await?;
        let text = password::mint();
        let path = reset_path(&inner.data, login.is_none() || name == OPERATOR);
        let hash = inner.passwords.hash(text.clone()).await?;
        let mut commit = inner.store.begin("reset-password").await?;
        match login {
            Some((id, _)) => {
                commit.update_user(id, None, Some(hash)).await?;
            }
            None if name == OPERATOR => {
                commit.insert_user(operator(hash)).await?;
            }
            None => {
                return Err(Error::NotFound(format!("there is no user named {name:?}")));
            }
        }
        secret_file::write(&path, &text)?;
        commit.finish_unpublished().await?;
        Ok(path)
    }
}

/// Names of people are no names of files.
fn reset_path(data: &Path, is_operator: bool) -> PathBuf {
    data.join(match is_operator {
        true => "operator-password",
        false => "reset-password",
    })
}

fn operator(password: String) -> NewUser {
    NewUser {
        account: None,
        name: OPERATOR.to_owned(),
        role: Role::Operator,
        password,
    }
}

//! `wharfinger user ...`

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{
    access::{Api, Failure, read_secret, reference},
    output::{cell, table},
    password,
    token::value_name,
    words::{fields, filtered},
};

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Lists people.
    List {
        /// Only those of this account, by name or id.
        #[arg(long)]
        account: Option<String>,
        /// Only the one of this name.
        #[arg(long)]
        name: Option<String>,
        /// Only those of this role.
        #[arg(long)]
        role: Option<Role>,
    },
    /// Shows a person.
    Show {
        /// Name or id.
        user: String,
    },
    /// Adds a person.
    Create {
        /// What they log in with; unique among all people.
        #[arg(long)]
        name: String,
        /// What they may do.
        #[arg(long)]
        role: Role,
        /// Name or id of their account; an operator has none.
        #[arg(long)]
        account: Option<String>,
        /// File with their password, 12 to 256 characters; `-` is stdin.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
    /// Changes a person's role or password; all their sessions end.
    Set {
        /// Name or id.
        user: String,
        /// `admin` or `reader`.
        #[arg(long)]
        role: Option<Role>,
        /// File with the new password; `-` is stdin.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Removes a person; all their sessions end.
    Delete {
        /// Name or id.
        user: String,
    },
    /// Changes one's own password, without an admin token; all one's sessions end.
    ChangePassword(password::Own),
    /// Gives a person a new password, offline: in the data folder, while no control plane runs there.
    ResetPassword {
        /// Their name.
        name: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Role {
    Operator,
    Admin,
    Reader,
}

impl Verb {
    pub(super) async fn run(self, api: &Api) -> Result<(), Failure> {
        match self {
            Self::List {
                account,
                name,
                role,
            } => {
                let role = role.map(value_name);
                let filters = [("account", account), ("name", name), ("role", role)];
                let path = filtered("/users", &filters);
                api.print_list(&path, list).await
            }
            Self::Show { user } => api.print_one(&path(api, &user).await?, list).await,
            Self::Create {
                name,
                role,
                account,
                password_file,
            } => {
                let body = fields([
                    ("name", Some(name.into())),
                    ("role", Some(value_name(role).into())),
                    ("password", Some(password(&password_file)?)),
                    ("account", account.as_deref().map(reference)),
                ]);
                api.change(Method::POST, "/users", Some(body.into()), said("added"))
                    .await
            }
            Self::Set {
                user,
                role,
                password_file,
            } => {
                let password = password_file.as_deref().map(password).transpose()?;
                let body = fields([
                    ("role", role.map(|role| value_name(role).into())),
                    ("password", password),
                ]);
                if body.is_empty() {
                    return Err(Failure::Usage(
                        "nothing to set: give --role or --password-file".to_owned(),
                    ));
                }
                let path = path(api, &user).await?;
                api.change(Method::PATCH, &path, Some(body.into()), said("changed"))
                    .await
            }
            Self::Delete { user } => {
                let path = path(api, &user).await?;
                let sentence = format!("user {user} is deleted");
                api.change(Method::DELETE, &path, None, |_| Ok(sentence))
                    .await
            }
            Self::ChangePassword(_) | Self::ResetPassword { .. } => {
                Err(Failure::Usage("that takes no admin token".to_owned()))
            }
        }
    }
}

async fn path(api: &Api, user: &str) -> Result<String, Failure> {
    api.path("/users", "user", user).await
}

fn password(file: &Path) -> Result<Value, Failure> {
    let secret = read_secret(file)
        .map_err(|why| Failure::Failed(format!("cannot read the password: {why}")))?;
    Ok(json!(secret.reveal()))
}

fn said(done: &'static str) -> impl FnOnce(&Value) -> Result<String, Failure> {
    move |user| {
        let (id, name, role) = (cell(&user["id"]), cell(&user["name"]), cell(&user["role"]));
        Ok(format!("user {name} (id {id}, {role}) is {done}"))
    }
}

fn list(items: &[Value]) -> String {
    let rows = items
        .iter()
        .map(|item| {
            ["id", "name", "role", "account", "created_by", "created_at"]
                .map(|key| cell(&item[key]))
        })
        .collect();
    table(["ID", "NAME", "ROLE", "ACCOUNT", "BY", "CREATED"], rows)
}

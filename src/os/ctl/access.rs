//! The way to the daemon, and to its database when it does not run.

use super::super::control::{Client, ClientError, Tables, cdrs, users};
use super::super::settings;
use super::super::store::Database;
use super::failure::Failure;
use crate::config::{Config, DEFAULT_FILE};
use crate::control::Failure::NotFound;
use crate::control::{Command, Reply};
use crate::feature::Features;
use crate::mailbox::Mailboxes;
use crate::store::{Directory, Record};
use std::path::{Path, PathBuf};

/// What the command line says about the way.
#[derive(Debug)]
pub(super) struct Access {
    config: Option<PathBuf>,
    socket: Option<PathBuf>,
}

/// Who carries out commands about users and calls that are over.
pub(super) enum UserLink {
    /// The daemon.
    Daemon(Client),
    /// We, on the database file.
    Database(Box<Offline>),
}

/// The database, opened because no daemon runs.
pub(super) struct Offline {
    config: Config,
    database: Database,
    directory: Directory,
    features: Features,
    mailboxes: Mailboxes,
}

impl Access {
    pub(super) fn new(config: Option<PathBuf>, socket: Option<PathBuf>) -> Self {
        Self { config, socket }
    }

    /// The file that is, or would be, read.
    pub(super) fn config_file(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| DEFAULT_FILE.into())
    }

    /// The configuration; the defaults if nobody named a file and the usual one is not there.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        if self.config.is_none() && !Path::new(DEFAULT_FILE).exists() {
            return Ok(settings::defaults());
        }
        Ok(settings::load(&self.config_file())?)
    }

    /// Connects to the daemon.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let path = match &self.socket {
            Some(path) => path.clone(),
            None => self.config()?.admin.socket,
        };
        Ok(Client::connect(&path)?)
    }

    /// Asks the daemon one question; a refusal is a failure.
    pub(super) fn ask(&self, command: Command) -> Result<Reply, Failure> {
        accepted(self.client()?.ask(command)?)
    }

    /// The daemon, or without one the database.
    pub(super) fn users(&self) -> Result<UserLink, Failure> {
        if let Some(socket) = &self.socket {
            return Ok(UserLink::Daemon(Client::connect(socket)?));
        }
        let config = self.config()?;
        match Client::connect(&config.admin.socket) {
            Ok(client) => Ok(UserLink::Daemon(client)),
            Err(ClientError::NotRunning(_)) => {
                let mut database = Database::open(&config.store)?;
                let (directory, features) = (Directory::new(), Features::new());
                let loaded = database.load()?;
                features.load(loaded.features, loaded.features_revision_max);
                let mailboxes = Mailboxes::new();
                mailboxes.load(loaded.mailboxes, loaded.messages);
                for user in loaded.users {
                    // What was stored fitted.
                    let _ = directory.put(user);
                }
                Ok(UserLink::Database(Box::new(Offline {
                    config,
                    database,
                    directory,
                    features,
                    mailboxes,
                })))
            }
            Err(other) => Err(other.into()),
        }
    }
}

impl UserLink {
    /// Carries out a command; a refusal is a failure.
    pub(super) fn ask(&mut self, command: Command) -> Result<Reply, Failure> {
        let reply = match self {
            UserLink::Daemon(client) => client.ask(command)?,
            UserLink::Database(offline) => offline.ask(&command)?,
        };
        let missing = matches!(&reply, Reply::Failed { kind, .. } if *kind == NotFound);
        accepted(reply).map_err(|failure| match missing {
            true => Failure::new(super::exit::NOUSER, failure.text),
            false => failure,
        })
    }

    /// The domain of users that are named without one.
    pub(super) fn default_domain(&mut self) -> Result<String, Failure> {
        match self {
            UserLink::Daemon(client) => match accepted(client.ask(Command::Status)?)? {
                Reply::Status(status) if !status.domains.is_empty() => {
                    Ok(status.domains.into_iter().next().unwrap_or_default())
                }
                other => Err(Failure::unexpected(&other)),
            },
            UserLink::Database(offline) => Ok(offline.config.node.default_domain().into()),
        }
    }
}

impl Offline {
    fn ask(&mut self, command: &Command) -> Result<Reply, Failure> {
        let mut records: Vec<Record> = Vec::new();
        let keep = |record| records.push(record);
        let tables = Tables {
            directory: &self.directory,
            features: &self.features,
            mailboxes: &self.mailboxes,
            mail: &self.config.voicemail,
        };
        let reply = users::execute(command, &self.config.node, tables, keep);
        self.database.apply(records.iter())?;
        let reply = reply.or_else(|| cdrs::read(command, &self.config, &self.database));
        reply.ok_or_else(|| Failure::new(super::exit::SOFTWARE, "this needs voipd"))
    }
}

/// Makes a failure of a reply that says no.
pub(super) fn accepted(reply: Reply) -> Result<Reply, Failure> {
    match reply {
        Reply::Failed {
            kind,
            problem,
            remedy,
        } => Err(Failure::refused(kind, &problem, &remedy)),
        other => Ok(other),
    }
}

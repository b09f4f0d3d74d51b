//! The ledger's tables, and the words in SQL by which calls under way are found among them.

/// The version this program writes. 1: volumes. 2: also the index of calls under way, history and retries.
/// 3: also the index of names.
pub(super) const SCHEMA: i64 = 3;
/// The oldest version that may write to a file of ours: what later versions added is kept true by the file itself.
pub(super) const OLDEST_WRITER: i64 = 1;
/// The version that added the tables for people.
pub(super) const FOR_PEOPLE: i64 = 2;

/// A field of a record, which is nothing where the row is no JSON. The words must be the same wherever the index is to be used.
macro_rules! field {
    ($name:literal) => {
        concat!("iif(json_valid(record), record ->> '$.", $name, "', NULL)")
    };
}
macro_rules! name {
    () => {
        "substr(key, instr(key, ':') + 1)"
    };
}
/// The call under way, as JSON.
pub(super) const CALL: &str = field!("call");
/// There is a call under way.
pub(super) const HAS_CALL: &str = concat!(field!("call"), " IS NOT NULL");
/// And it is of one driver.
pub(super) const OF_DRIVER: &str = concat!("AND ", field!("driver"), " = ?1");
/// The boot of a record.
pub(super) const BOOT: &str = "record ->> '$.boot'";

/// The name in a key: that of a volume of one user comes after the user's, and no name holds a colon. Of others it is the whole key.
pub(super) const NAME: &str = name!();

/// How many volumes each driver has, and how many of them are held, mounted at places and ready, failing.
pub(super) const COUNT: &str = "
    SELECT record ->> '$.driver', count(*),
        sum(record ->> '$.state.floor' = 'absent' AND json_type(record, '$.state.rung.staged') IS NOT NULL),
        sum((SELECT count(*) FROM json_each(record, '$.state.places') WHERE value IN ('ready', 'growing'))),
        sum(json_array_length(record, '$.state.trouble') > 0)
    FROM volume WHERE json_valid(record) AND record ->> '$.driver' IS NOT NULL GROUP BY 1";

/// What makes a file of this version out of an older one, or of none.
///
/// The index holds calls under way alone, so that they are found among any number of volumes at rest. A row that was
/// damaged into something that is no JSON is in no index, and keeps nobody from opening the file.
pub(super) const MAKE: &str = concat!(
    "
    CREATE TABLE IF NOT EXISTS volume (
        key TEXT PRIMARY KEY, generation INTEGER NOT NULL, record TEXT NOT NULL, sum TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS under_way ON volume (",
    field!("driver"),
    ") WHERE ",
    field!("call"),
    " IS NOT NULL;
    CREATE INDEX IF NOT EXISTS named ON volume (",
    name!(),
    ");
    CREATE TABLE IF NOT EXISTS history (
        key TEXT, generation INTEGER, nth INTEGER, entry TEXT NOT NULL, PRIMARY KEY (key, generation, nth)
    ) WITHOUT ROWID;
    CREATE TRIGGER IF NOT EXISTS forget AFTER DELETE ON volume
        BEGIN DELETE FROM history WHERE key = old.key; END;
    CREATE TABLE IF NOT EXISTS retry (
        writer TEXT, uid TEXT, volume TEXT, retry TEXT NOT NULL, PRIMARY KEY (writer, uid, volume)
    ) WITHOUT ROWID;"
);

#!/usr/bin/env -S python3 -I
"""A CSI driver in Python: what folders.sh does, and snapshots and clones. It needs the tools mount, cp, rm and sync.

A volume is a folder below the one that the setting "directory" names: volumes/NAME/about is what is answered about it,
volumes/NAME/data.TOKEN what a pod sees. A snapshot is a copy of that in snapshots/NAME, and a clone is one more (blocks are shared where
the file system can). Each is made and taken away under a hidden name, and appears and goes by one rename. A call holds the lock of the
folder it works on, which the kernel gives back when the call dies: so nothing is copied while it is mounted or mounted while it is
copied, and a hidden folder that nobody holds was left by a call that was cut off. Sizes are remembered; nothing holds a volume to its.
"""
import contextlib, datetime, fcntl, glob, json, os, re, subprocess, sys, tempfile, time

class Failure(Exception):
    def __init__(self, code, message):
        self.answer = {"status": "Failure", "message": message} | ({"code": code} if code else {})

def run(*command, **more):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          errors="replace", env={**os.environ, "LC_ALL": "C"}, **more)
    if done.returncode:
        raise Failure("exhausted" if "No space left" in done.stdout else "", done.stdout.strip() or f"{command[0]} failed")

def settle():
    """Goes to the folder that the settings name: every path below is relative to it."""
    conf = os.environ.get("FLEXVOL_SETTINGS", "/etc/flexvol")
    if os.path.isdir(conf):
        conf += f"/{os.path.basename(os.path.dirname(sys.argv[0]))}.json"
    try:
        with open(conf) as file:
            os.chdir(json.load(file)["directory"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Failure("invalid", f'no folder: {error}; make one, and write {{"directory": "/its/path"}} to {conf}')
    os.umask(0o022)
    for kind in "volumes", "snapshots":
        os.makedirs(kind, 0o700, exist_ok=True)

def plain(name):  # no slash, no dot at the beginning, no newline: safe in a path
    return re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}", name)

def named(options):
    if not plain(options.get("flexvol/name", "")):
        raise Failure("invalid", "a name has 1 to 128 letters, digits, dots, dashes, underscores, and begins with a letter or digit")
    return options["flexvol/name"]

def number(options, key):
    if not re.fullmatch(r"[0-9]{0,18}", options.get(key, "")):
        raise Failure("invalid", f"{key} must be a whole number of at most 18 digits")
    return int(options.get(key) or 0)

def find(kind, name):
    """What is answered about a volume or snapshot; None if there is none that we made."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        with open(f"{kind}/{name if plain(name) else '.'}/about") as file:
            return json.load(file)

def must(kind, name):
    found = find(kind, name)
    if not found:
        raise Failure("notFound", f"there is no {name} among the {kind}")
    return found

def room():
    return os.statvfs(".").f_bavail * os.statvfs(".").f_frsize

def data(path):
    return os.path.abspath(glob.glob(f"{path}/data.*")[0])

def is_mounted(path):  # it, or something in it: nothing else has this token in its path
    with open("/proc/self/mountinfo", errors="replace") as table:
        return f"/{os.path.basename(data(path))}" in table.read()

@contextlib.contextmanager
def locked(path, how=fcntl.LOCK_EX | fcntl.LOCK_NB):
    """Holds the lock of a folder; gives its descriptor, which a child can go on holding."""
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, how)
        if not os.path.samestat(os.fstat(lock), os.stat(path)):
            raise Failure("busy", f"{path} has just been made anew")
        yield lock
    except BlockingIOError:
        raise Failure("busy", f"another call is at work in {path}")
    finally:
        os.close(lock)

def sweep():
    for path in glob.glob(".new.*") + glob.glob(".gone.*"):
        with contextlib.suppress(Failure, FileNotFoundError):
            if path.startswith(".new.") and time.time() - os.path.getmtime(path) < 3600:
                continue  # so new that its maker may not have locked it yet
            with locked(path):
                run("rm", "-rf", "--one-file-system", path)

def make(path, facts, source):
    """Makes a volume or snapshot, with what the folder `source` holds or empty."""
    if os.path.lexists(path):
        raise Failure("conflict", f"{path} is there, and none of ours")
    sweep()
    new = tempfile.mkdtemp(prefix=".new.", dir=".")
    with contextlib.ExitStack() as held:
        locks = [held.enter_context(locked(new))]
        held.callback(run, "rm", "-rf", "--one-file-system", new)  # which is not there once it is renamed
        inside = f"{new}/data.{os.path.basename(new)[5:]}"
        if source:
            locks.append(held.enter_context(locked(source, fcntl.LOCK_EX)))
            if is_mounted(source):
                raise Failure("busy", f"{source} is mounted, and could change while it is copied")
            run("cp", "-aT", "--reflink=auto", "--one-file-system", data(source), inside, pass_fds=locks)
        else:
            os.mkdir(inside)
        with open(f"{new}/about", "w") as file:
            json.dump(facts, file)
        run("sync", "-f", new)
        os.rename(new, path)
        run("sync", os.path.dirname(path))

def remove(kind, name):
    path = f"{kind}/{name}"
    if find(kind, name):  # anything else is none of ours, and so gone already
        with locked(path):
            if is_mounted(path):
                raise Failure("busy", f"{name} is mounted")
            os.rename(path, f".gone.{os.path.basename(data(path))}")
    sweep()

def page(options, kind, key, **wanted):
    after, most = options.get("flexvol/token", ""), min(number(options, "flexvol/max") or 1000, 1000)
    if after and not plain(after):
        raise Failure("invalid", "no page begins there")
    found = [find(kind, name) for name in sorted(os.listdir(kind)) if name > after]
    found = [facts for facts in found if facts and all(facts[key] == value for key, value in wanted.items() if value)]
    return {kind: found[:most], **({"next": found[most - 1][key]} if len(found) > most else {})}

def createvolume(options):
    name, least, most = named(options), number(options, "flexvol/requiredBytes"), number(options, "flexvol/limitBytes") or 1 << 62
    kinds = {"volumes": options.get("flexvol/sourceVolume"), "snapshots": options.get("flexvol/sourceSnapshot")}
    sources = [(kind, of) for kind, of in kinds.items() if of]
    if len(sources) > 1 or least > most:
        raise Failure("invalid", "a volume cannot begin as two others, nor be larger than its limit")
    source = "/".join(sources[0]) if sources else ""
    if not find("volumes", name):
        size = max([least] + [must(*one)["bytes"] for one in sources])
        if size > most:
            raise Failure("invalid", f"a copy of {source} has at least {size} bytes")
        if size > room():
            raise Failure("exhausted", f"there is no room for {size} bytes")
        make(f"volumes/{name}", {"id": name, "bytes": size, "options": {"folder": name}, "source": source}, source)
    facts = must("volumes", name)
    if facts["source"] != source or not least <= facts["bytes"] <= most:
        raise Failure("conflict", f"there is a volume {name} of another size or source")
    return facts

def createsnapshot(options):
    name, volume = named(options), options.get("flexvol/id", "")
    if not find("snapshots", name):
        size, now = must("volumes", volume)["bytes"], datetime.datetime.now(datetime.timezone.utc)
        facts = {"snapshot": name, "id": volume, "bytes": size, "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "ready": True}
        make(f"snapshots/{name}", facts, f"volumes/{volume}")
    facts = must("snapshots", name)
    if facts["id"] != volume:
        raise Failure("conflict", f"there is a snapshot {name} of another volume")
    return facts

def mount(options):
    place, folder, read_only = sys.argv[2], options.get("folder", ""), options.get("kubernetes.io/readwrite") == "ro"
    must("volumes", folder)
    with locked(f"volumes/{folder}", fcntl.LOCK_SH | fcntl.LOCK_NB), contextlib.ExitStack() as undo:
        inside = data(f"volumes/{folder}")
        if is_mountpoint(place):
            if not os.path.samefile(place, inside) or bool(os.statvfs(place).f_flag & os.ST_RDONLY) != read_only:
                raise Failure("conflict", f"something else is mounted at {place}")
            return
        undo.callback(unmount, place)  # nothing stays half done
        run("mount", "-o", "bind,ro" if read_only else "bind", inside, place)
        undo.pop_all()

def is_mountpoint(place):
    return subprocess.run(["findmnt", "-M", place], stdout=subprocess.DEVNULL).returncode == 0  # also what is dead

def unmount(place):
    while is_mountpoint(place):
        run("umount", place)

CALLS = {
    "createvolume": createvolume, "createsnapshot": createsnapshot, "mount": mount,
    "deletevolume": lambda options: remove("volumes", options.get("flexvol/id", "")),
    "deletesnapshot": lambda options: remove("snapshots", options.get("flexvol/snapshot", "")),
    "listvolumes": lambda options: page(options, "volumes", "id"),
    "listsnapshots": lambda options: page(options, "snapshots", "snapshot", id=options.get("flexvol/id"), snapshot=options.get("flexvol/snapshot")),
    "getcapacity": lambda options: {"available": room()},
}

def answer(verb):
    if verb == "init":
        return {"capabilities": {"attach": False, "supportsMetrics": True, "requiresFSResize": False},
                "extensions": ["local", "stdin", "provision", "snapshot", "clone", "list", "capacity"]}
    if verb == "unmount":
        return unmount(sys.argv[2])
    if verb not in CALLS:
        return {"status": "Not supported"}
    options = json.loads(sys.stdin.read() if sys.argv[-1] == "-" else sys.argv[-1])
    settle()
    return CALLS[verb](options)

try:
    print(json.dumps({"status": "Success", **(answer(sys.argv[1]) or {})}))
except (OSError, ValueError, AttributeError, LookupError, TypeError, Failure) as error:
    print(json.dumps(getattr(error, "answer", {"status": "Failure", "message": str(error)})))
    sys.exit(1)

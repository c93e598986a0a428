"""`mlgate storage`: buckets, and files in them as gs://BUCKET/PATH.

A destination that ends with a slash, or is a bucket or an existing local directory, keeps the source's own name below
it; any other destination is the new name.
"""

from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any

import typer

from mlgate.cli import buckets, output
from mlgate.cli.client import Client
from mlgate.cli.failure import Failure
from mlgate.cli.verbs import verb, words
from mlgate.core.names import parse_gs_uri

group = words("Buckets and files: create, copy, list, remove.")
group.add_typer(buckets.group, name="buckets")

Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Everything below it.")]

_O = "storage.objects"
_GS = "gs://"


@verb(group)
def cp(
    client: Client,
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Files here, or gs://BUCKET/PATH; - is stdin.")
    ],
    destination: Annotated[
        str, typer.Argument(metavar="DESTINATION", help="A file or directory here, or gs://BUCKET/PATH; - is stdout.")
    ],
    recursive: Recursive = False,
) -> Any:
    """Copy files to a bucket, from a bucket, or between buckets."""
    for source in sources:
        if source.startswith(_GS):
            _from_bucket(client, source, destination, recursive)
        elif destination.startswith(_GS):
            _to_bucket(client, source, destination, recursive)
        else:
            raise Failure("INVALID_ARGUMENT", "Neither the source nor the destination is gs://BUCKET/PATH.")


@verb(group)
def ls(
    client: Client,
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[PLACE]...", help="gs://BUCKET or gs://BUCKET/PATH.")
    ] = None,
    recursive: Recursive = False,
    long: Annotated[bool, typer.Option("--long", "-l", help="With sizes and times.")] = False,
) -> Any:
    """List buckets, or what is in them."""
    if not places:
        for each in client.listed("storage.buckets.list", "items", {"project": client.project}):
            print(f"gs://{each['name']}/")
    for place in places or ():
        bucket, path = parse_gs_uri(place, "place")
        found = _directory(client, bucket, path, recursive)
        if not found and path:
            raise Failure("NOT_FOUND", f"Nothing matches {place}.")
        for entry in found:
            print(_line(bucket, entry, long))


@verb(group)
def cat(
    client: Client, places: Annotated[list[str], typer.Argument(metavar="PLACE...", help="gs://BUCKET/PATH.")]
) -> Any:
    """Print files from a bucket."""
    for place in places:
        _from_bucket(client, place, "-", recursive=False)


@verb(group)
def rm(
    client: Client,
    places: Annotated[list[str], typer.Argument(metavar="PLACE...", help="gs://BUCKET/PATH.")],
    recursive: Recursive = False,
) -> Any:
    """Remove files from a bucket; with -r also everything below a path, and the bucket itself when only it is named."""
    for place in places:
        bucket, path = parse_gs_uri(place, "place")
        if not recursive:
            _check_names_object(place, path)
        names = [name for name, _ in _below(client, bucket, path)] if recursive else [path]
        if not names and path:
            raise Failure("NOT_FOUND", f"Nothing matches {place}.")
        for name in names:
            client.call(f"{_O}.delete", bucket=bucket, object=name)
            output.note(f"Removed gs://{bucket}/{name}")
        if recursive and not path:
            client.call("storage.buckets.delete", bucket=bucket)
            output.note(f"Removed gs://{bucket}/")


# ---------------------------------------------------------------------------------------------------------- copying


def _to_bucket(client: Client, source: str, destination: str, recursive: bool) -> None:
    from mlgate.cli.transfers import upload, upload_directory, upload_file

    bucket, path = parse_gs_uri(destination, "destination")
    local = Path(source)
    if source == "-":
        _check_names_object(destination, path)
        with SpooledTemporaryFile(max_size=64 << 20) as spool:
            while block := sys.stdin.buffer.read(1 << 20):
                spool.write(block)
            spool.seek(0)
            upload(client, spool, bucket, path)
    elif local.is_dir():
        if not recursive:
            raise Failure("INVALID_ARGUMENT", f"{source} is a directory: use -r.")
        prefix = _named(path, local.resolve().name)
        count = upload_directory(client, local, bucket, f"{prefix}/")
        output.note(f"Copied {count} files to gs://{bucket}/{prefix}/")
    else:
        made = upload_file(client, local, bucket, _named(path, local.name))
        output.note(f"Copied {source} to gs://{bucket}/{made['name']}")


def _from_bucket(client: Client, source: str, destination: str, recursive: bool) -> None:
    bucket, path = parse_gs_uri(source, "source")
    if not recursive:
        _check_names_object(source, path)
        _copy_one(client, (bucket, path), PurePosixPath(path).name, destination)
        return
    base, found = PurePosixPath(path.rstrip("/")).name or bucket, _below(client, bucket, path)
    if not found:
        raise Failure("NOT_FOUND", f"Nothing matches {source}.")
    root = path.rstrip("/") + "/" if path else ""
    target = _directory_for(destination, base)  # decided once: the first copy may create it
    for name, _ in found:
        _copy_one(client, (bucket, name), name.removeprefix(root) if name != path else base, target)


def _copy_one(client: Client, source: tuple[str, str], inner: str, destination: str) -> None:
    """One object to where `inner`, its name below the destination, says."""
    from mlgate.cli.transfers import copy, download, download_file

    shown = f"gs://{source[0]}/{source[1]}"
    if destination == "-":
        download(client, *source, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif destination.startswith(_GS):
        bucket, path = parse_gs_uri(destination, "destination")
        copy(client, source, (bucket, _named(path, inner)))
        output.note(f"Copied {shown} to gs://{bucket}/{_named(path, inner)}")
    else:
        local = _local_place(destination, inner)
        download_file(client, *source, local)
        output.note(f"Copied {shown} to {local}")


def _local_place(destination: str, inner: str) -> Path:
    """Where a download goes. A name that leads out of the destination is refused: others chose it."""
    root = Path(destination)
    if not (root.is_dir() or destination.endswith("/")):
        return root
    place = (root / inner).resolve()
    if inner.endswith("/") or not place.is_relative_to(root.resolve()) or place == root.resolve():
        raise Failure("INVALID_ARGUMENT", f'The object name "{inner}" cannot be a file below {destination}.')
    return place


def _directory_for(destination: str, base: str) -> str:
    """The destination of a recursive copy, as a directory."""
    if destination.startswith(_GS):
        bucket, path = parse_gs_uri(destination, "destination")
        return f"gs://{bucket}/{_named(path, base)}/"
    if destination.endswith("/") or Path(destination).is_dir():
        return f"{destination.rstrip('/')}/{base}/"
    return f"{destination}/"


def _named(path: str, own: str) -> str:
    return path + own if not path or path.endswith("/") else path


def _check_names_object(place: str, path: str) -> None:
    if not path or path.endswith("/"):
        raise Failure("INVALID_ARGUMENT", f"{place} names no single object: give its whole path, or use -r.")


# ---------------------------------------------------------------------------------------------------------- listing


def _below(client: Client, bucket: str, path: str) -> list[tuple[str, dict[str, Any]]]:
    """The object of that very name and all objects below it."""
    items = client.listed(f"{_O}.list", "items", {"prefix": path}, bucket=bucket)
    root = path.rstrip("/") + "/" if path else ""
    return [(item["name"], item) for item in items if item["name"] == path or item["name"].startswith(root)]


def _directory(client: Client, bucket: str, path: str, recursive: bool) -> list[tuple[str, dict[str, Any]]]:
    """What `ls` shows: one level, its directories as names that end with a slash."""
    if recursive:
        return _below(client, bucket, path)
    if path and not path.endswith("/"):
        same = [(name, item) for name, item in _below(client, bucket, path) if name == path]
        if same:
            return same
        path += "/"
    return _level(client, bucket, path)


def _level(client: Client, bucket: str, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    query: dict[str, str | int | bool | None] = {"prefix": prefix, "delimiter": "/"}
    while True:
        page = client.call(f"{_O}.list", query=query, bucket=bucket)
        found += [(name, {}) for name in page.get("prefixes", ())]
        found += [(item["name"], item) for item in page.get("items", ())]
        if not page.get("nextPageToken"):
            return sorted(found, key=lambda entry: entry[0])
        query["pageToken"] = page["nextPageToken"]


def _line(bucket: str, entry: tuple[str, dict[str, Any]], long: bool) -> str:
    name, item = entry
    shown = output.printable(f"gs://{bucket}/{name}").replace("\n", "\\n")
    return f"{item.get('size', ''):>12}  {item.get('updated', ''):24}  {shown}" if long else shown

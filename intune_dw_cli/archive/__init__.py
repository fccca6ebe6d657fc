"""The backup directory: layout, lock, journal, manifest, backup and verify.

ARCHIVE/
  manifest.json     what is held: collections, schemas, slices, parts with hashes; no clock, no machine names
  SHA256SUMS        the same hashes, for `sha256sum -c`
  metadata.xml      $metadata as served; service.json the service document
  data/COLLECTION/  the parts (see export.parts.PartNaming)
  history/          dated copies of collections without days (--keep-dimensions)
  .intune-dw/       journal.jsonl (the unfinished run), lock, runs.jsonl (a log of runs, with clock)
"""

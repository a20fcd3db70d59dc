// Package cache keeps what queries read from a bucket: ranges of objects that never change, so that nothing in it is
// ever out of date.
//
//	          ┌────────┐  miss  ┌────────────┐  miss  ┌──────┐
//	Read ────▶│ memory │───────▶│ disk       │───────▶│ Load │  one call for neighbours that are missing
//	          └────────┘        │ (optional) │        └──────┘
//	               ▲            └────────────┘            │
//	               │                  ▲ behind a queue    │
//	               └──────────────────┴───────────────────┘
//
// Words:
//
//   - An object has a key and a size. The key tells it from all others that share the cache, or its folder:
//     where two buckets do, name the bucket, too.
//   - A page is an aligned piece of an object, Config.PageSize bytes; an object's last page ends with it. Pages
//     are what is kept and evicted.
//   - A fetch brings neighbouring pages that one Read found in neither level. Whoever else wants one of
//     them meanwhile waits for the same fetch.
//   - A set is one of the 256 folders on disk, with a 256th of the room: like a line of pages in a set-associative cache,
//     a page can only be in the set that its hash names.
//
// What the package keeps to:
//
//   - Memory is bounded by Config.Memory, with what the pages cost beyond their bytes. Above that there is what is being
//     fetched, which the readers bound (as much as they ask for, rounded to pages, and once more while a load of
//     several pages is cut into them), and at most 8 MiB, or a page if that is more, on the way to the disk.
//   - A scan does not drive out what is used again and again. See below.
//   - A fetch belongs to those who wait for it: it outlives whoever began it, and is canceled when the last one leaves.
//   - Errors are not kept: the next Read tries again.
//   - The disk is never a reason to fail. A file that is torn, damaged, foreign or another page's is a miss, and is removed;
//     a disk that is full or broken is a miss, a warning, and a count in Stats.
//   - Any number of processes may share a folder. Files appear whole, by renaming; one that has vanished is a miss; one that another
//     process has written is found. Each keeps the files that it knows of within Config.Disk: those it has written or read, and
//     those that it found when it looked through a set, which it does once. So n processes at once may leave up to n times that, and
//     whoever starts next brings it down again.
//   - What is written stays private to the user: folders 0700, files 0600, and their names are hashes: they tell nothing,
//     and no key, however hostile, leads outside of the folder.
//
// # Eviction in memory
//
// S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: FIFO Queues are All You Need for Cache Eviction, SOSP 2023), by bytes. A new page
// goes into a small queue, a tenth of the memory. At its end it moves on to the main queue if it was used twice since it came, otherwise
// it goes, and leaves a ghost: its hash. A page that has a ghost goes to the main queue at once. There,
// at the end, a page that was used goes round again, once for each use, up to three. Uses in quick succession count as one, for the
// neighbouring blocks of a scan share pages. So a scan flows through the small queue, and tails and filters, which every query reads, stay
// in the main one. An empty cache is filled by whatever comes: the shares matter once it is full.
//
// # Eviction on disk
//
// In each set, the least recently used pages first, with those that were read again spared while
// others take more than a quarter of the set. The time of last use survives a restart as the files' time of modification, to
// an hour.
//
// The package does not know what is in the objects, does not read ahead, and retries nothing.
package cache

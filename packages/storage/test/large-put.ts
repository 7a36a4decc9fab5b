/** Stores 500 MB in the store of its argument and says by how much that has made the process grow. */
import { openStore, type StoreOptions } from '../src/open-store.ts'

const total = 500_000_000
const warmUp = 11_000_000
const chunkBytes = 62_500

let mostBytes = 0
async function* source(bytes: number): AsyncGenerator<Buffer> {
  for (let sent = 0; sent < bytes; sent += chunkBytes) {
    if (sent % (16 * chunkBytes) === 0) mostBytes = Math.max(mostBytes, process.memoryUsage.rss())
    yield Buffer.alloc(chunkBytes, sent % 251)
  }
}

const store = await openStore(JSON.parse(process.argv[2] ?? '') as StoreOptions)
await store.put('warm-up', source(warmUp), { maxBytes: total })
const beforeBytes = process.memoryUsage.rss()
const { bytes } = await store.put('large', source(total), { maxBytes: total })
process.stdout.write(JSON.stringify({ bytes, grownBytes: mostBytes - beforeBytes, mostBytes }))
await store.close()

import { readFileSync, statSync } from 'node:fs'
import type { Reply } from './reply.ts'
import type { Request } from './request.ts'

/** Sends a file as aiohttp does: ETag, Last-Modified, conditional requests and byte ranges. Undefined when it is no file. */
export function fileReply(path: string, request: Request, headers: Record<string, string>): Reply | undefined {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  if (!stat?.isFile()) return undefined
  const etag = `"${stat.mtimeNs.toString(16)}-${stat.size.toString(16)}"`
  const seconds = Number(stat.mtimeMs / 1000n) * 1000
  const dated = { ...headers, Etag: etag, 'Last-Modified': new Date(seconds).toUTCString() }
  if (isUnchanged(request, etag, seconds)) return { status: 304, headers: dated }
  const bytes = readFileSync(path)
  const range = readRange(request.headers.range, bytes.length)
  if (!range) return { status: 200, headers: { ...dated, 'Accept-Ranges': 'bytes' }, body: bytes }
  if (range.start >= bytes.length) {
    return { status: 416, headers: { ...headers, 'Content-Range': `bytes */${bytes.length}` }, isChunked: true }
  }
  return {
    status: 206,
    headers: {
      ...dated,
      'Accept-Ranges': 'bytes',
      'Content-Range': `bytes ${range.start}-${range.end - 1}/${bytes.length}`
    },
    body: bytes.subarray(range.start, range.end)
  }
}

function isUnchanged(request: Request, etag: string, modifiedMs: number): boolean {
  const match = request.headers['if-none-match']
  if (match !== undefined) return match.split(',').some(tag => tag.trim() === etag || tag.trim() === '*')
  const since = Date.parse(request.headers['if-modified-since'] ?? '')
  return !Number.isNaN(since) && modifiedMs <= since
}

function readRange(header: string | undefined, size: number): { start: number; end: number } | undefined {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '')
  if (!match || (match[1] === '' && match[2] === '')) return undefined
  if (match[1] === '') return { start: Math.max(0, size - Number(match[2])), end: size }
  const end = match[2] === '' ? size : Math.min(size, Number(match[2]) + 1)
  return { start: Number(match[1]), end }
}

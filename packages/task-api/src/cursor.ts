import { Refusal } from '@comfy-balancer/service-kit/problems'

/** Where a listing goes on: opaque to callers. */
export const writeCursor = (before: string | undefined): string | null =>
  before === undefined ? null : Buffer.from(`v1 ${before}`).toString('base64url')

/** Reads a cursor back. Throws a Refusal for anything that `writeCursor` did not make. */
export const readCursor = (cursor: string): string => {
  const match = /^v1 (task_[0-9a-z]{32})$/.exec(Buffer.from(cursor, 'base64url').toString('utf8'))
  if (match?.[1]) return match[1]
  const detail = 'cursor must be the nextCursor of the page before'
  throw new Refusal('validation-failed', detail, {
    errors: [{ pointer: '/querystring/cursor', code: 'cursor', detail }]
  })
}

import { Refusal } from '@comfy-balancer/service-kit/problems'

/** Where a listing goes on: opaque to callers. `read` throws a Refusal for anything that `write` did not make. */
export type Cursor = {
  readonly write: (before: string | undefined) => string | null
  readonly read: (cursor: string) => string
}

const createCursor = (id: RegExp): Cursor => ({
  write: before => (before === undefined ? null : Buffer.from(`v1 ${before}`).toString('base64url')),
  read: cursor => {
    const text = Buffer.from(cursor, 'base64url').toString('utf8')
    if (text.startsWith('v1 ') && id.test(text.slice(3))) return text.slice(3)
    const detail = 'cursor must be the nextCursor of the page before'
    throw new Refusal('validation-failed', detail, {
      errors: [{ pointer: '/querystring/cursor', code: 'cursor', detail }]
    })
  }
})

/** Goes through tasks. */
export const taskCursor = createCursor(/^task_[0-9a-z]{32}$/)

/** Goes through webhook deliveries. */
export const deliveryCursor = createCursor(/^task_[0-9a-z]{32}-[0-9]{1,9}$/)

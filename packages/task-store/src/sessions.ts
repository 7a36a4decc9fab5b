import { createHash, randomBytes } from 'node:crypto'
import { idOfApiKey } from './api-key.ts'
import type { ApiKeys, ApiKeyVerdict } from './api-keys.ts'
import type { StoreDeps } from './store-deps.ts'

export type Sessions = ReturnType<typeof createSessions>

/** How long somebody who signed in with a key stays signed in. */
export const sessionMs = 8 * 3_600_000

/**
 * Browsers that are signed in: a random token stands for an API key for a while, so that the key need not stay in the browser. A session is
 * worth what its key is worth at that moment, and only its token's digest is stored.
 */
export const createSessions = ({ redis, keys }: StoreDeps, apiKeys: ApiKeys) => ({
  /** Signs in whoever holds this key, which must have been judged; answers the token. */
  async open(apiKey: string): Promise<string> {
    const token = randomBytes(32).toString('base64url')
    await redis.set(keys.session(digestOf(token)), idOfApiKey(apiKey) ?? '', 'PX', sessionMs)
    return token
  },

  /** What a session's key is worth; `ended` when there is no such session any more. */
  async judge(token: string): Promise<ApiKeyVerdict | { readonly kind: 'ended' }> {
    const id = await redis.get(keys.session(digestOf(token)))
    return id === null ? { kind: 'ended' } : apiKeys.judgeId(id)
  },

  /** Signs out. */
  async end(token: string): Promise<void> {
    await redis.del(keys.session(digestOf(token)))
  }
})

const digestOf = (token: string): string => createHash('sha256').update(token).digest('base64url')

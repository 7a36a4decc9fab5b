import { randomBytes } from 'node:crypto'
import type { StoreDeps } from './store-deps.ts'

/** A secret that a tenant's webhooks are signed with; a former one until an instant (Redis ms). */
export type SigningSecret = { readonly secret: string; readonly untilMs?: number }

export type WebhookSecrets = ReturnType<typeof createWebhookSecrets>

const aSecret = (): string => `whsec_${randomBytes(32).toString('base64')}`

/** The secrets of each tenant's webhooks, newest first. */
export const createWebhookSecrets = ({ redis, keys, run }: StoreDeps) => {
  const write = async (tenant: string, secret: string, overlapMs: number, onlyFirst: boolean) => {
    const text = await run('webhook-secret', tenant, secret, overlapMs, onlyFirst ? '1' : '')
    return JSON.parse(text as string) as [SigningSecret, ...SigningSecret[]]
  }

  return {
    /** What to sign with now; a tenant that never chose a secret gets one. */
    async current(tenant: string): Promise<string[]> {
      const [text, [seconds]] = await Promise.all([redis.get(keys.webhookSecrets(tenant)), redis.time()])
      const secrets: SigningSecret[] = text ? JSON.parse(text) : await write(tenant, aSecret(), 0, true)
      return secrets
        .filter(({ untilMs }) => untilMs === undefined || untilMs > Number(seconds) * 1_000)
        .map(one => one.secret)
    },

    /** Replaces the secret, by a new one unless it is given; the former one goes on signing for the overlap. */
    rotate(
      tenant: string,
      secret: string | undefined,
      overlapMs: number
    ): Promise<[SigningSecret, ...SigningSecret[]]> {
      return write(tenant, secret ?? aSecret(), overlapMs, false)
    }
  }
}

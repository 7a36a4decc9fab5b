import { createHmac } from 'node:crypto'

/** The headers of a message as Standard Webhooks wants them: signed with each secret, so that either side may change it first. */
export const signedHeaders = (
  id: string,
  body: string,
  secrets: readonly string[],
  nowMs: number
): Record<string, string> => {
  const timestamp = String(Math.floor(nowMs / 1_000))
  const content = `${id}.${timestamp}.${body}`
  return {
    'content-type': 'application/json',
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': secrets.map(secret => `v1,${hmac(secret, content)}`).join(' ')
  }
}

const hmac = (secret: string, content: string): string =>
  createHmac('sha256', Buffer.from(secret.slice('whsec_'.length), 'base64'))
    .update(content)
    .digest('base64')

import type { ServerResponse } from 'node:http'
import type { FastifyInstance } from 'fastify'
import './fastify-additions.ts'
import { Refusal } from './problems.ts'
import type { UpgradeRequest } from './upgrade-request.ts'

const graceMs = 5000

/**
 * Closes a server in order: new requests are refused, open streams are ended, requests in hand are answered within 5 s, then the
 * connections go. Without it an open stream keeps a server from ever closing.
 */
export const closeInOrder = (app: FastifyInstance): void => {
  const ends = new Set<() => void>()
  let inHand = 0
  let isClosing = false
  let idle: (() => void) | undefined
  const count = (response: ServerResponse): void => {
    inHand++
    response.once('close', () => {
      if (--inHand === 0) idle?.()
    })
  }
  app.decorate('openStreams', {
    add: end => {
      ends.add(end)
      if (isClosing) end()
      return () => void ends.delete(end)
    },
    get size() {
      return ends.size
    }
  })
  app.addHook('onRequest', async (request, reply) => {
    if (!(request.raw as UpgradeRequest).upgrade) count(reply.raw)
    if (isClosing) throw new Refusal('draining', 'This service is shutting down; another one may be up')
  })
  app.addHook('preClose', async () => {
    isClosing = true
    for (const end of ends) end()
    if (inHand === 0) return
    await new Promise<void>(resolve => {
      const limit = setTimeout(resolve, graceMs)
      idle = () => {
        clearTimeout(limit)
        resolve()
      }
    })
  })
}

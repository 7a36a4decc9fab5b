import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Type } from '@sinclair/typebox'
import { collectDefaultMetrics, Registry } from 'prom-client'

/** The variables of the metrics listener; the default port differs between the services. */
export const metricsConfig = (defaults: { readonly port: number }) => ({
  METRICS_HOST: Type.String({ default: '127.0.0.1' }),
  METRICS_PORT: Type.Integer({ minimum: 0, maximum: 65_535, default: defaults.port })
})

/** A registry of Prometheus metrics and the listener that shows it. */
export type Metrics = {
  readonly registry: Registry
  /** Starts to listen and answers with the port in use. */
  listen(address: { readonly host: string; readonly port: number }): Promise<number>
  close(): Promise<void>
}

/**
 * Metrics on a listener of their own, so that `/metrics` is never public by accident. It answers from memory alone: whatever is gathered
 * from Redis or ComfyUI is set on a timer, never while being asked.
 */
export const createMetrics = (): Metrics => {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const server = createServer(async (request, response) => {
    if (request.method !== 'GET' || request.url?.split('?', 1)[0] !== '/metrics') return response.writeHead(404).end()
    const text = await registry.metrics().catch(() => undefined)
    if (text === undefined) return response.writeHead(500).end()
    return response.writeHead(200, { 'content-type': registry.contentType }).end(text)
  })
  server.requestTimeout = 5000
  return {
    registry,
    listen: async ({ host, port }) => {
      server.listen(port, host)
      await once(server, 'listening')
      return (server.address() as AddressInfo).port
    },
    close: async () => {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    }
  }
}

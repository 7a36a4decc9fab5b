import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Static, type TObject, Type } from '@sinclair/typebox'
import {
  Counter,
  type CounterConfiguration,
  collectDefaultMetrics,
  Gauge,
  type GaugeConfiguration,
  Histogram,
  type HistogramConfiguration,
  Registry
} from 'prom-client'
import { type ConfigRule, hostString } from './config.ts'

/** The variables of the metrics listener; the default port differs between the services. */
export const metricsConfig = (defaults: { readonly port: number }) => ({
  METRICS_HOST: hostString({
    default: '127.0.0.1',
    description: 'Address that Prometheus scrapes; there is no authentication, so never a public one'
  }),
  METRICS_PORT: Type.Integer({
    minimum: 0,
    maximum: 65_535,
    default: defaults.port,
    description: 'Port of `/metrics`; 0: any free one, named in the log'
  })
})

type MetricsConfig = Static<TObject<ReturnType<typeof metricsConfig>>>

/** Refuses metrics on the port of the API, where they would be public. */
export const metricsRule: ConfigRule<MetricsConfig & { readonly PORT: number }> = ({ PORT, METRICS_PORT }) =>
  METRICS_PORT === undefined || METRICS_PORT === 0 || METRICS_PORT !== PORT
    ? []
    : [{ name: 'METRICS_PORT', message: `must differ from PORT (both are ${PORT}): metrics need no key` }]

/** A registry of Prometheus metrics, the ways to add one, and the listener that shows them. */
export type Metrics = {
  readonly registry: Registry
  counter<L extends string>(options: Omit<CounterConfiguration<L>, 'registers'>): Counter<L>
  gauge<L extends string>(options: Omit<GaugeConfiguration<L>, 'registers'>): Gauge<L>
  histogram<L extends string>(options: Omit<HistogramConfiguration<L>, 'registers'>): Histogram<L>
  /** Starts to listen and answers with the port in use. */
  listen(address: { readonly host: string; readonly port: number }): Promise<number>
  close(): Promise<void>
}

/** Scrapers at once; who is one more is turned away. */
const maxConnections = 64

/**
 * Metrics on a listener of their own, so that `/metrics` is never public by accident. It answers from memory alone: whatever is gathered
 * from Redis or ComfyUI is set on a timer, never while being asked. `labels` stand on every metric of the process. All who ask
 * at once get the same text, and a scraper that takes nothing for `silentMs` is let go.
 */
export const createMetrics = (
  labels: Readonly<Record<string, string>> = {},
  { silentMs = 10_000 }: { readonly silentMs?: number } = {}
): Metrics => {
  const registry = new Registry()
  registry.setDefaultLabels(labels)
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  let text: Promise<string | undefined> | undefined
  const render = (): Promise<string | undefined> => {
    text ??= registry
      .metrics()
      .catch(() => undefined)
      .finally(() => {
        text = undefined
      })
    return text
  }
  const server = createServer(async (request, response) => {
    if (request.method !== 'GET' || request.url?.split('?', 1)[0] !== '/metrics') return response.writeHead(404).end()
    const metrics = await render()
    if (metrics === undefined) return response.writeHead(500).end()
    return response.writeHead(200, { 'content-type': registry.contentType }).end(metrics)
  })
  server.requestTimeout = 5000
  server.timeout = silentMs
  server.maxConnections = maxConnections
  return {
    registry,
    counter: options => new Counter({ ...options, registers }),
    gauge: options => new Gauge({ ...options, registers }),
    histogram: options => new Histogram({ ...options, registers }),
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

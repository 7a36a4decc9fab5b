import { parser } from '@prometheus-io/lezer-promql'

/** One series selector of an expression: its metric, and the labels that it picks by. */
export type Selector = { readonly metric: string; readonly labels: readonly string[] }

/** What an expression of Prometheus asks for. Throws where it cannot be parsed. */
export const selectorsOf = (expression: string): Selector[] => {
  const text = expression.replaceAll('$__rate_interval', '5m')
  const found: { metric: string; labels: string[] }[] = []
  parser.parse(text).iterate({
    enter: node => {
      const words = text.slice(node.from, node.to)
      if (node.type.isError) throw new Error(`not PromQL near ${JSON.stringify(text.slice(node.from))}: ${text}`)
      if (node.name === 'VectorSelector') found.push({ metric: '', labels: [] })
      if (node.name === 'Identifier' && node.node.parent?.name === 'VectorSelector') found.at(-1)!.metric = words
      if (node.name === 'LabelName' && node.node.parent?.name !== 'GroupingLabels') found.at(-1)!.labels.push(words)
    }
  })
  return found
}

/** The metrics of a text that Prometheus scrapes, each with the labels seen on its series; those of histograms by their base name too. */
export const metricsIn = (exposition: string): Map<string, Set<string>> => {
  const metrics = new Map<string, Set<string>>()
  const labelsOf = (name: string) => metrics.get(name) ?? metrics.set(name, new Set()).get(name)!
  for (const line of exposition.split('\n')) {
    const type = /^# TYPE (\S+) (\S+)$/.exec(line)
    if (type?.[2] === 'histogram') for (const part of ['_bucket', '_sum', '_count']) labelsOf(`${type[1]}${part}`)
    else if (type) labelsOf(type[1]!)
    const [, name, labels = ''] = /^(\w+)(?:\{(.*)\})? \S+$/.exec(line) ?? []
    if (name) for (const [, label] of labels.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) labelsOf(name).add(label!)
  }
  return metrics
}

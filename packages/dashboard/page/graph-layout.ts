import type { GraphNodeGlance } from '@comfy-balancer/contract/task-timeline'

/** A box of the drawing; x and y are its upper left corner. */
export type Box = { readonly node: GraphNodeGlance; readonly x: number; readonly y: number }
/** A link of the drawing: the points that it passes, from the box it leaves to the box it enters. */
export type Link = {
  readonly from: string
  readonly to: string
  readonly points: readonly (readonly [number, number])[]
}
export type Drawing = {
  readonly boxes: readonly Box[]
  readonly links: readonly Link[]
  readonly width: number
  readonly height: number
}

export const boxWidth = 190
export const boxHeight = 44
const gapX = 40
const gapY = 14
/** A link that passes a column without stopping there takes a lane of this height. */
const laneHeight = 8

/** What stands in a column: a box, or a lane for a link that only passes. `before` names what it is drawn to from the left. */
type Item = { readonly key: string; readonly node?: GraphNodeGlance; readonly before: readonly string[] }

/** Lays a graph out in columns from left to right, each thing near to what it takes from; no link runs behind a box. */
export const layOut = (graph: readonly GraphNodeGlance[]): Drawing => {
  const columns = columnsOf(graph)
  const items = itemsOf(graph, columns)
  const middles = new Map<string, readonly [number, number]>()
  const boxes: Box[] = []
  let height = 0
  for (const [column, here] of items.entries()) {
    const x = column * (boxWidth + gapX) + 1
    let y = 1
    for (const item of inOrder(here, middles)) {
      const tall = item.node ? boxHeight : laneHeight
      middles.set(item.key, [x, y + tall / 2])
      if (item.node) boxes.push({ node: item.node, x, y })
      y += tall + gapY
    }
    height = Math.max(height, y)
  }
  return { boxes, links: linksOf(graph, columns, middles), width: items.length * (boxWidth + gapX), height }
}

/** A graph node's column is the longest way to it from a source; a source stands just before what takes from it. */
const columnsOf = (graph: readonly GraphNodeGlance[]): Map<string, number> => {
  const byId = new Map(graph.map(node => [node.id, node]))
  const columns = new Map<string, number>()
  const place = (id: string): number => {
    const known = columns.get(id)
    if (known !== undefined) return known
    columns.set(id, 0)
    const before = (byId.get(id)?.from ?? []).filter(one => byId.has(one)).map(place)
    columns.set(id, before.length === 0 ? 0 : Math.max(...before) + 1)
    return columns.get(id)!
  }
  for (const { id } of graph) place(id)
  for (const { id } of graph.filter(({ from }) => from.length === 0)) {
    const after = graph.filter(({ from }) => from.includes(id)).map(node => columns.get(node.id)!)
    if (after.length > 0) columns.set(id, Math.min(...after) - 1)
  }
  return columns
}

const laneKey = (from: string, column: number): string => `${from} via ${column}`

/** What a link touches in a column, on its way from a box: a lane of its source, shared by all links of that source. */
const stop = (from: string, column: number, columns: ReadonlyMap<string, number>): string =>
  columns.get(from) === column ? from : laneKey(from, column)

const itemsOf = (graph: readonly GraphNodeGlance[], columns: ReadonlyMap<string, number>): Item[][] => {
  const items: Item[][] = Array.from({ length: Math.max(0, ...columns.values()) + 1 }, () => [])
  const lanes = new Set<string>()
  for (const node of graph) {
    const column = columns.get(node.id)!
    const known = node.from.filter(id => columns.has(id))
    items[column]!.push({ key: node.id, node, before: known.map(id => stop(id, column - 1, columns)) })
    for (const from of known) {
      for (let passed = columns.get(from)! + 1; passed < column; passed++) {
        const key = laneKey(from, passed)
        if (!lanes.has(key)) items[passed]!.push({ key, before: [stop(from, passed - 1, columns)] })
        lanes.add(key)
      }
    }
  }
  return items
}

const inOrder = (here: readonly Item[], middles: ReadonlyMap<string, readonly [number, number]>): Item[] => {
  const weight = ({ before }: Item): number => {
    const known = before.flatMap(key => middles.get(key)?.[1] ?? [])
    return known.length === 0 ? Number.MAX_VALUE : known.reduce((sum, y) => sum + y, 0) / known.length
  }
  return here.toSorted((a, b) => weight(a) - weight(b))
}

const linksOf = (
  graph: readonly GraphNodeGlance[],
  columns: ReadonlyMap<string, number>,
  middles: ReadonlyMap<string, readonly [number, number]>
): Link[] =>
  graph.flatMap(node =>
    node.from
      .filter(id => columns.has(id))
      .map(from => {
        const [x, y] = middles.get(from)!
        const points: (readonly [number, number])[] = [[x + boxWidth, y]]
        for (let column = columns.get(from)! + 1; column < columns.get(node.id)!; column++) {
          const [laneX, laneY] = middles.get(laneKey(from, column))!
          points.push([laneX, laneY], [laneX + boxWidth, laneY])
        }
        return { from, to: node.id, points: [...points, middles.get(node.id)!] }
      })
  )

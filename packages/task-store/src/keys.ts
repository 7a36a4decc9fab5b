/**
 * Every name in Redis, each with its type. They all begin with one prefix that is a hash tag, so that a script may touch any of them in a
 * cluster. The scripts get this very table.
 */
export const keyNames = {
  /** hash: state, version, attempt, token, node, tenant, need, work, order, times, budgets used, deadline */
  task: 'task:',
  /** string: the request as it came */
  body: 'body:',
  /** string: output manifest, or problem of a failed task */
  result: 'result:',
  /** string: what ComfyUI wrote into its log during the task's attempts */
  logs: 'logs:',
  /** list: at most 64 state events, as old as the task */
  journal: 'journal:',
  /** hash: tenant, createdMs and task ids of a group; as old as its oldest task may become */
  group: 'group:',
  /** hash: the text of each template of one tenant by its name */
  templates: 'templates:',
  /** string: tenant of a task whose record has expired, for a while */
  gone: 'gone:',
  /** zset: waiting tasks of one tenant and need by order score */
  queue: 'queue:',
  /** zset: the same tasks by work */
  short: 'short:',
  /** zset: the needs that a tenant waits with, by the order score of the foremost task */
  queues: 'queues:',
  /** set: `tenant:need` of the queues whose need includes this model */
  waiting: 'waiting:',
  /** string: what a need asks for, by digest */
  need: 'need:',
  /** zset: tenants with waiting tasks by virtual start time */
  flows: 'flows',
  /** hash: virtual time `v`, by tenant the next start `s:` and overtakes `o:`, and where the sweep of idle tenants goes on, `cursor` */
  fairness: 'fairness',
  /** hash: what a tenant may use: its limits and its weight */
  tenant: 'tenant:',
  /** string: by tenant, when its request rate is back at rest */
  rate: 'rate:',
  /** zset: a tenant's tasks of the last hour by time of acceptance, while generationsPerHour holds */
  generated: 'generated:',
  /** string: GPU-seconds by tenant and UTC day */
  spent: 'spent:',
  /** hash: digest, tenant, name, scopes and times of an API key, by its id */
  apiKey: 'api-key:',
  /** set: ids of API keys */
  apiKeys: 'api-keys',
  /** string: id of the API key that a signed-in browser stands for, by the digest of its token */
  session: 'session:',
  /** hash: tasks in a slot by tenant */
  running: 'running',
  /** hash: waiting tasks by tenant */
  queued: 'queued',
  /** hash: totals by state, of failures also by code (`failed:<code>`), quarantines of nodes, last sweep */
  counters: 'counters',
  /** zset: node → end of its slot */
  slots: 'slots',
  /** zset: task → when its back-off ends */
  delayed: 'delayed',
  /** zset: task → when it runs out of time */
  deadlines: 'deadlines',
  /** zset: quarantined node → until when */
  quarantined: 'quarantined',
  /** string: why a workflow (`tenant:fingerprint`) is refused for a while */
  poison: 'poison:',
  /** zset: the refused workflows → until when */
  poisons: 'poisons',
  /** zset: node → last heartbeat */
  nodes: 'nodes',
  /** hash: epoch, url, labels, report, slot, learned paces */
  node: 'node:',
  /** string: classes and models that equal nodes share, by digest */
  catalog: 'catalog:',
  /** string: names of the files in a node's input folder, by digest */
  files: 'files:',
  /** list: the tasks of all tenants that ended last, newest first, for operators */
  ended: 'ended',
  /** zset: a tenant's tasks; all scores are 0, since their ids are in order of acceptance */
  tasks: 'tasks:',
  /** string: task id and hash of the request */
  idempotency: 'idempotency:',
  /** hash: path, bytes and media type of an uploaded file, by tenant and digest */
  input: 'input:',
  /** zset: `tenant:digest` of the uploaded files by when they expire */
  inputs: 'inputs',
  /** hash: bytes of uploaded files by tenant */
  inputBytes: 'input-bytes',
  /** zset: paths of the store that nobody needs any more, by when they may be removed */
  waste: 'waste',
  /** hash: learned seconds of one need, in the fleet (`load`, `execution`) and on each node (`load:<node>`) */
  stats: 'stats:',
  /** hash: learned seconds of the graphs that ran last, by fingerprint */
  graphs: 'graphs',
  /** zset: the same fingerprints by when they ran last */
  graphUses: 'graph-uses',
  /** list: events (JSON) that webhooks wait for and delivery has not taken over */
  outbox: 'outbox',
  /** hash: one event on its way to a webhook, by task and version */
  delivery: 'delivery:',
  /** zset: versions of a task's events that its webhook has not taken, by version */
  undelivered: 'undelivered:',
  /** zset: a tenant's deliveries by task and version; all scores are 0 */
  deliveries: 'deliveries:',
  /** string: the secrets (JSON) that a tenant's webhooks are signed with, newest first */
  webhookSecrets: 'webhook-secrets:',
  /** string: the balancer that showed itself last, gone when none did for a while */
  balancer: 'balancer',
  /** string: somebody does this work, or did so lately */
  turn: 'turn:',
  /** channel of one node: its slot or its attempt changed */
  wake: 'wake:',
  /** channel: there may be something to dispatch */
  wakeDispatch: 'wake-dispatch',
  /** channel: there is something in the outbox */
  wakeOutbox: 'wake-outbox',
  /** channel: `task version state`, there is a new journal entry */
  events: 'events',
  /** channel: progress of running tasks, never stored */
  progress: 'progress',
  /** channel of one task: previews, published only while somebody listens */
  preview: 'preview:'
} as const

/** Builds full names from a prefix such as `{cb}:`. */
export type Keys = { readonly [Name in keyof typeof keyNames]: (...parts: string[]) => string }

/** The key functions of one ledger. `prefix` must be a hash tag ending in a colon. */
export const createKeys = (prefix: string): Keys =>
  Object.fromEntries(
    Object.entries(keyNames).map(([name, text]) => [name, (...parts: string[]) => prefix + text + parts.join(':')])
  ) as Keys

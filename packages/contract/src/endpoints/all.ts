import type { Endpoint } from '../endpoint.ts'
import { getFleet, liftQuarantine, listQuarantine, watchFleet } from './fleet.ts'
import { followGroup, followTask, openSocket } from './following.ts'
import { cancelGroup, getGroup } from './groups.ts'
import { uploadInput } from './inputs.ts'
import { drainNode, getNode, listNodes, restartNode, resumeNode } from './nodes.ts'
import { livez, readyz } from './probes.ts'
import { endSession, getSession, openSession } from './session.ts'
import { cancelTask, generate, getOutput, getTask, getTaskLogs, getTaskTimeline, listTasks } from './tasks.ts'
import { deleteTemplate, getTemplate, listTemplates, previewTemplate, putTemplate } from './templates.ts'
import { getTenant, putTenant } from './tenants.ts'
import { listWebhookDeliveries, putWebhookSecret, redeliverWebhook } from './webhooks.ts'

/** Every endpoint of both services: what is said of all of them is checked over this list. */
export const endpoints: readonly Endpoint[] = [
  generate,
  getTask,
  cancelTask,
  listTasks,
  getTaskLogs,
  getTaskTimeline,
  getOutput,
  followTask,
  followGroup,
  openSocket,
  getGroup,
  cancelGroup,
  listTemplates,
  getTemplate,
  putTemplate,
  deleteTemplate,
  previewTemplate,
  listWebhookDeliveries,
  redeliverWebhook,
  putWebhookSecret,
  uploadInput,
  listNodes,
  getNode,
  drainNode,
  resumeNode,
  restartNode,
  getFleet,
  watchFleet,
  listQuarantine,
  liftQuarantine,
  getTenant,
  putTenant,
  openSession,
  getSession,
  endSession,
  livez,
  readyz
]

import type { RefObject } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { usePreview } from './preview-feed.ts'

const nearView = { rootMargin: '100px 0px' }

/** What a node makes just now, small; asked for only while it is near the view. Its place is there before the first picture is. */
export const AttemptPreview = ({ node, task }: { readonly node: string; readonly task: string }) => {
  const place = useRef<HTMLDivElement>(null)
  const picture = usePreview(useNearView(place) ? task : null)
  return (
    <div ref={place} class="attempt-picture">
      {picture && <img src={picture} alt={`Preview of what ${node} makes`} />}
    </div>
  )
}

const useNearView = (place: RefObject<HTMLElement | null>): boolean => {
  const [isNear, setNear] = useState(false)
  useEffect(() => {
    const observer = new IntersectionObserver(entries => setNear(entries.at(-1)?.isIntersecting ?? false), nearView)
    observer.observe(place.current!)
    return () => observer.disconnect()
  }, [])
  return isNear
}

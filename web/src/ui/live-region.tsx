import { announcement } from '../announce';
import { useStore } from '../store';

/** Says announcements aloud, politely. The same words twice in a row are said twice. */
export function LiveRegion() {
  const { text, count } = useStore(announcement);
  return (
    <div class="unseen" role="status" aria-live="polite" data-testid="live">
      <span key={count}>{text}</span>
    </div>
  );
}

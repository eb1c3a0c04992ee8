// The page's icons: one stroke, one size. They say nothing aloud; the control around them has the words.
import type { ComponentChildren } from 'preact';

function icon(children: ComponentChildren) {
  return () => (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const PauseIcon = icon(<path d="M9 6v12M15 6v12" />);
export const PlayIcon = icon(<path d="M8 5.5v13l10.5-6.5z" />);
export const CloseIcon = icon(<path d="M6.5 6.5l11 11M17.5 6.5l-11 11" />);
export const RetryIcon = icon(<path d="M19 12a7 7 0 1 1-2.2-5.1M19 4v4.5h-4.5" />);
export const LinkIcon = icon(
  <path d="M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-.8.8M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l.8-.8" />,
);
export const DownloadIcon = icon(<path d="M12 4v11m0 0 4.5-4.5M12 15l-4.5-4.5M5 19.5h14" />);
export const PencilIcon = icon(<path d="M5 19l1-4L16 5l3 3L9 18zM14 7l3 3" />);
export const TrashIcon = icon(<path d="M5 7h14M10 7V5h4v2M7 7l.8 12h8.4L17 7M10.5 10.5v5M13.5 10.5v5" />);
export const CheckIcon = icon(<path d="M5.5 12.5l4.5 4.5 9-10" />);
export const SearchIcon = icon(
  <>
    <circle cx="11" cy="11" r="5.5" />
    <path d="M15.2 15.2L19 19" />
  </>,
);
export const LockIcon = icon(<path d="M6.5 11h11v8h-11zM9 11V8a3 3 0 0 1 6 0v3" />);
export const GlobeIcon = icon(
  <>
    <circle cx="12" cy="12" r="7.5" />
    <path d="M4.5 12h15M12 4.5c4 4.5 4 10.5 0 15M12 4.5c-4 4.5-4 10.5 0 15" />
  </>,
);
export const SunIcon = icon(
  <>
    <circle cx="12" cy="12" r="3.5" />
    <path d="M12 3.5v2M12 18.5v2M3.5 12h2M18.5 12h2M6 6l1.4 1.4M16.6 16.6L18 18M6 18l1.4-1.4M16.6 7.4L18 6" />
  </>,
);
export const MoonIcon = icon(<path d="M19 14.5A7.5 7.5 0 0 1 9.5 5a7.5 7.5 0 1 0 9.5 9.5z" />);
export const SystemIcon = icon(<path d="M4.5 5.5h15v10h-15zM9 19h6M12 15.5V19" />);
export const LeaveIcon = icon(<path d="M13 5H6v14h7M10.5 12H20m0 0-3.5-3.5M20 12l-3.5 3.5" />);
export const FileIcon = icon(<path d="M7 4.5h6.5L17 8v11.5H7zM13 4.5V8.5h4" />);
export const WarnIcon = icon(<path d="M12 5l8 14H4zM12 10.5v4M12 16.8v.2" />);

/** The mark: an arrow leaving a harbour. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="9" />
      <path d="M16 19V7.5m0 0-4.6 4.6M16 7.5l4.6 4.6M7 17.5a9 9 0 0 0 18 0" />
    </svg>
  );
}
